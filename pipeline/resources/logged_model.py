"""What MLflow notes of a logged model beside its files: the packages that it needs, and the columns in and out."""

from collections.abc import Sequence
from importlib.metadata import version as installed
from typing import TYPE_CHECKING, Any

from packaging.version import Version

if TYPE_CHECKING:
    import polars as pl

_REQUIREMENTS = ("lightgbm", "numpy", "pandas", "polars", "pyarrow", "pydantic", "safetensors", "scipy", "torch")


def requirements() -> list[str]:
    """What a registered version needs, in public versions: a build of torch such as 2.9.0+cpu is in no public index."""
    return [f"{name}=={Version(installed(name)).public}" for name in _REQUIREMENTS]


def signature_of(example: "pl.DataFrame", outputs: "pl.DataFrame") -> Any:
    """Every column of the feature matrix by name. Only two are required: a number may be missing, and columns that
    are carried along or not read (MLflow warns of each that the signature does not name) may be absent."""
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Schema

    return ModelSignature(
        inputs=Schema(_columns(example, required=("customer_id", "cluster_probs"))),
        outputs=Schema(_columns(outputs, outputs.columns)),
    )


def _columns(frame: "pl.DataFrame", required: Sequence[str]) -> list[Any]:
    import polars as pl
    from mlflow.types.schema import Array, ColSpec, DataType

    def kind(dtype: "pl.DataType") -> Any:
        if isinstance(dtype, pl.List):
            return Array(kind(dtype.inner))  # type: ignore[arg-type]
        if dtype == pl.String:
            return DataType.string
        if dtype == pl.Boolean:
            return DataType.boolean
        if dtype == pl.Date:
            return DataType.datetime
        return DataType.double if dtype.is_float() else DataType.long

    return [ColSpec(kind(dtype), name, required=name in required) for name, dtype in frame.schema.items()]
