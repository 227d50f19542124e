"""Bundles: what is saved is what is loaded, and what does not fit is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from ple_model.model import PLEClusterAdaTT
from ple_model.serving.bundle import TaskCalibration, load_bundle, save_bundle
from ple_model.serving.files import digest_of_json, sha256_of_file
from ple_model.serving.format import BundleError
from ple_model.training.data import digest_of_tensors
from ple_model.training.finish import calibrate
from tests.ple_model import samples

Made = tuple[PLEClusterAdaTT, dict[str, TaskCalibration]]
META = {"as_of": "2017-10-01"}


@pytest.fixture(scope="module")
def made() -> Made:
    model, train, valid = samples.ready(200)
    return model, calibrate(model, train, valid, inverses=samples.INVERSES)


@pytest.fixture
def folder(tmp_path: Path, made: Made) -> Path:
    save_bundle(tmp_path / "bundle", *made, samples.CLASSES, META, {"ltv": {"unit": "USD"}})
    return tmp_path / "bundle"


def _forge(folder: Path, name: str) -> None:
    """Make the digests fit a changed file, so that only its content can be refused."""
    described = json.loads((folder / "model.json").read_text())
    if name != "model.json":
        described["files"][name] = sha256_of_file(folder / name)
    described["digest"] = digest_of_json({key: described[key] for key in ("format", "config", "epochs", "files")})
    (folder / "model.json").write_text(json.dumps(described))


def test_what_was_saved_is_loaded(folder: Path, made: Made) -> None:
    bundle = load_bundle(folder)
    assert digest_of_tensors(bundle.model.state_dict()) == digest_of_tensors(made[0].state_dict())
    assert bundle.model.config == made[0].config
    assert bundle.calibration == made[1]
    assert (bundle.classes, bundle.meta) == (samples.CLASSES, META)
    assert bundle.described["ltv"]["unit"] == "USD"
    told = {"uncertainty", "fallback", "region_level"}
    more = {"classes", "none_class", "predicted_by"}
    assert set(bundle.described["churn"]) == {"name", "kind", "unit", "meaning", *more, *told}
    assert bundle.described["life_stage"]["none_class"] == "stage 0"
    assert {name for name, task in bundle.calibration.items() if task.natural} == set(samples.INVERSES)
    assert not bundle.model.training


def test_equal_content_gives_equal_bytes_and_other_content_another_digest(
    folder: Path, made: Made, tmp_path: Path
) -> None:
    digest = save_bundle(tmp_path / "again", *made, samples.CLASSES, META, {"ltv": {"unit": "USD"}})
    for file in folder.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()
    assert digest == load_bundle(folder).digest
    calibration = dict(made[1])
    rates = replace(calibration["ltv"].uncertainty.base_rates, population=(0.123,))
    calibration["ltv"] = replace(
        calibration["ltv"], uncertainty=replace(calibration["ltv"].uncertainty, base_rates=rates)
    )
    assert save_bundle(tmp_path / "other", made[0], calibration, samples.CLASSES, META) != digest


def test_loading_draws_no_number_from_the_callers_generator(folder: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    load_bundle(folder)
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("name", ["weights.safetensors", "tasks.json", "calibration.json"])
def test_an_altered_or_missing_file_is_refused_by_name(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[-3] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(BundleError, match=f"{name} is not the file that was saved"):
        load_bundle(folder)
    (folder / name).unlink()
    with pytest.raises(BundleError, match=f"lacks {name}"):
        load_bundle(folder)


def test_settings_that_were_altered_are_refused(folder: Path) -> None:
    described = json.loads((folder / "model.json").read_text())
    described["config"]["gate"]["prior_bias"] = 2.0
    (folder / "model.json").write_text(json.dumps(described))
    with pytest.raises(BundleError, match="was altered"):
        load_bundle(folder)


def test_weights_of_another_shape_are_refused_by_name(folder: Path) -> None:
    weights = safetensors.torch.load_file(folder / "weights.safetensors")
    weights["gate.linear.bias"] = weights["gate.linear.bias"][:-1].clone()
    safetensors.torch.save_file(weights, folder / "weights.safetensors")
    _forge(folder, "weights.safetensors")
    with pytest.raises(BundleError, match=r"1 tensors do not fit the settings, the first gate\.linear\.bias"):
        load_bundle(folder)


def test_classes_and_calibration_must_fit_the_tasks(made: Made, tmp_path: Path) -> None:
    model, calibration = made
    with pytest.raises(BundleError, match="life_stage has 6 outputs and 5 names"):
        save_bundle(tmp_path, model, calibration, {**samples.CLASSES, "life_stage": ["a"] * 5}, META)
    with pytest.raises(BundleError, match="none_class 'stage 0' is none of its classes"):
        save_bundle(tmp_path, model, calibration, {**samples.CLASSES, "life_stage": list("abcdef")}, META)
    with pytest.raises(BundleError, match="ltv has no calibration"):
        save_bundle(tmp_path, model, {k: v for k, v in calibration.items() if k != "ltv"}, samples.CLASSES, META)
    with pytest.raises(BundleError, match="ltv is regression, its calibrator is for binary"):
        save_bundle(tmp_path, model, {**calibration, "ltv": calibration["churn"]}, samples.CLASSES, META)


def test_a_folder_that_is_no_bundle_and_another_format_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"is no bundle: it lacks model\.json"):
        load_bundle(tmp_path)
    described = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**described, "format": 99}))
    with pytest.raises(BundleError, match="bundle format 99, this one reads 2"):
        load_bundle(folder)
    described["config"]["gate"]["unheard"] = 1
    (folder / "model.json").write_text(json.dumps(described))
    _forge(folder, "model.json")
    with pytest.raises(BundleError, match="settings that this code does not know"):
        load_bundle(folder)
