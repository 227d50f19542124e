"""What follows from a judgement, or from a person's word: the alias of the champion, tags, and the model card.

Tags come first, then the alias, then the card: whatever a killed process left, saying it again ends the same.
Whether a version may take over belongs to `promotion.py`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
import polars as pl

from feature_assets.state import FeatureState
from pipeline.reports.pages.card import CardFacts, card_page, within
from pipeline.resources.tracking import (
    CHAMPION,
    HELD,
    PROMOTED,
    REFUSED,
    REPLACED,
    ROLLED_BACK,
    RUN_NOTE_LENGTH,
    STATUS,
    TAG_LENGTH,
    RegisteredVersion,
    Tracking,
)
from pipeline.training import fits
from pipeline.training.challenge import Challenge
from pipeline.training.promotion import Judgement
from ple_model.serving.format import refusal

CARD, CHALLENGE, JUDGEMENT = "card", "challenge.json", "promotion.json"
"""Artifacts of a run: the card as .md and .json, the comparison, the findings."""
REASON, BECAUSE, BY, AT = "promotion.reason", "promotion.because", "promotion.by", "promotion.at"
"""Tags of a version and of its run, beside `STATUS` and `REPLACED`."""
RULES, PERSON = "the rules", "a person"


class PromotionError(ValueError):
    """A promotion or a rollback that cannot be; says why and what to do."""


@contextmanager
def _refusals() -> Iterator[None]:
    """What a lookup of a version refuses (altered files, another data set) is the reason of what a person asked for."""
    try:
        yield
    except dg.Failure as error:
        raise PromotionError(error.description or str(error)) from error


@dataclass(frozen=True)
class Decided:
    """One decision: the version that it is about, what it says, by whom, and the champion before and after."""

    version: str
    status: str
    words: str
    by: str
    before: str
    after: str

    def to_dict(self) -> dict[str, str]:
        """For tables and metadata."""
        return {
            "version": self.version,
            "decision": self.status,
            "why": self.words,
            "by": self.by,
            "champion before": self.before or "none",
            "champion now": self.after or "none",
        }


def settle(
    tracking: Tracking, version: RegisteredVersion, judgement: Judgement, challenge: Challenge, held: bool
) -> Decided:
    """Apply a judgement: the version takes over, waits for a person (`held`), or is refused; tags and card say so."""
    before = tracking.numbered(CHAMPION)
    status = REFUSED if not judgement.promote else HELD if held else PROMOTED
    if status == REFUSED and version.status == ROLLED_BACK:
        status = ROLLED_BACK  # a person's word stands
    tracking.log_json(version.run_id, judgement.to_dict(), JUDGEMENT)
    tags = {"promotion.reason": judgement.reason}
    if status == PROMOTED and before != version.version:
        tags[REPLACED] = before
    _tag(tracking, version, status, RULES, tags)
    if status == PROMOTED:
        tracking.set_alias(CHAMPION, version.version)
    _tell(tracking, version.version, challenge, judgement)
    now = version.version if status == PROMOTED else before
    return Decided(version.version, status, judgement.reason, RULES, before, now)


def opponent(tracking: Tracking, version: str | None) -> RegisteredVersion | None:
    """The version that a challenger is to be compared with: the champion, or where it has taken over already, the one
    that it replaced."""
    standing = tracking.champion()
    if standing is None or standing.version != version:
        return standing
    replaced = tracking.version(standing.replaced) if standing.replaced else None
    return None if replaced is None or refusal(replaced.bundle_format) else replaced


@_refusals()
def promote(tracking: Tracking, number: str, because: str) -> Decided:
    """A person makes the version of that number the champion; without a number the challenger.

    Raises:
        PromotionError: there is no such version, or it is the champion already; it could not score tonight; or it was
            refused, rolled back or never judged, and nobody says why it should score all the same.
    """
    version = named(tracking, number)
    refuse_unusable(version, tracking)
    before = tracking.numbered(CHAMPION)
    if before == version.version:
        raise PromotionError(f"version {version.version} is the champion already")
    if version.status not in (HELD, PROMOTED) and not because:
        said = f"was {version.status}{_why(tracking, version)}" if version.status else "was never judged"
        raise PromotionError(f"version {version.version} {said}; to promote it all the same, say why with --because")
    _tag(tracking, version, PROMOTED, PERSON, {BECAUSE: because, REPLACED: before})
    tracking.set_alias(CHAMPION, version.version)
    _tell(tracking, version.version, *judged(tracking, version))
    return Decided(version.version, PROMOTED, because or "agreed", PERSON, before, version.version)


def named(tracking: Tracking, number: str) -> RegisteredVersion:
    """The version of that number, or the challenger.

    Raises:
        PromotionError: there is none.
    """
    from mlflow.exceptions import MlflowException

    if not number:
        challenger = tracking.challenger()
        if challenger is None:
            raise PromotionError(
                "there is no challenger: the version trained last is the champion, or none was trained"
            )
        return challenger
    try:
        return tracking.version(number)
    except MlflowException as error:
        raise PromotionError(f"there is no version {number} of the model; MLflow → Models → ple lists them") from error
    except OSError as error:
        raise PromotionError(str(error)) from error
    except KeyError as error:
        raise PromotionError(f"version {number} was registered by no training: it has no tag {error}") from error


@_refusals()
def roll_back(tracking: Tracking, because: str) -> Decided:
    """A person puts the version that the champion replaced into its place again.

    Raises:
        PromotionError: there is no champion, it replaced none, or that one is gone.
    """
    from mlflow.exceptions import MlflowException

    standing = tracking.champion()
    if standing is None:
        raise PromotionError("there is no champion to roll back: run a night first")
    if not standing.replaced:
        raise PromotionError(
            f"version {standing.version}, the champion, replaced no other: there is none to go back to"
        )
    try:
        target = tracking.version(standing.replaced)
    except (MlflowException, FileNotFoundError) as error:
        raise PromotionError(
            f"version {standing.replaced}, which the champion replaced, is gone from MLflow; "
            "promote another one with `ple promote VERSION --because …`"
        ) from error
    refuse_unusable(target, tracking)
    _tag(tracking, standing, ROLLED_BACK, PERSON, {BECAUSE: because})
    tracking.set_alias(CHAMPION, target.version)
    _tell(tracking, standing.version, *judged(tracking, standing))
    return Decided(standing.version, ROLLED_BACK, because or "asked for", PERSON, standing.version, target.version)


def refuse_unusable(version: RegisteredVersion, tracking: Tracking) -> None:
    """Refuse a version that could not score tonight: its files are verified, state and schema are those of this code.

    Raises:
        PromotionError: with the reason.
    """
    from feature_assets.group import StateError
    from ple_model.serving.bundle import load_bundle
    from ple_model.serving.format import BundleError

    if version.dataset != tracking.dataset:
        raise PromotionError(
            f"version {version.version} was trained on the data set {version.dataset!r}, this deployment runs on "
            f"{tracking.dataset!r}"
        )
    try:
        load_bundle(version.folder)
        state = FeatureState.load(version.folder / "state")
        trained = tracking.read_json(version, "schema.json")["digest"]
    except (BundleError, StateError, OSError, ValueError) as error:
        raise PromotionError(f"version {version.version} cannot score: {error}") from error
    if state.version != version.state_version:
        raise PromotionError(
            f"version {version.version} cannot score: its state is {state.version}, registered as "
            f"{version.state_version}: the bundle was altered"
        )
    if trained != state.schema_digest:
        raise PromotionError(
            f"version {version.version} cannot score: it was trained with the schema {trained}, this code has "
            f"{state.schema_digest}"
        )


def write_card(
    tracking: Tracking,
    version: RegisteredVersion,
    challenge: Challenge | None = None,
    judgement: Judgement | None = None,
) -> None:
    """Write the card of a version: as its description, as that of its run, and as artifacts `card.md`, `card.json`."""
    page = card_page(card_facts(tracking, version, challenge, judgement))
    tracking.log_text(version.run_id, page.markdown(), f"{CARD}.md")
    tracking.log_json(version.run_id, page.to_dict(), f"{CARD}.json")
    tracking.describe_version(version.version, within(page, TAG_LENGTH))
    tracking.describe_run(version.run_id, within(page, RUN_NOTE_LENGTH))


def card_facts(
    tracking: Tracking,
    version: RegisteredVersion,
    challenge: Challenge | None,
    judgement: Judgement | None,
) -> CardFacts:
    """What the card of a version tells."""
    tags = tracking.version_tags(version.version)
    notes = tracking.read_json(version, "model.json")["meta"]
    return CardFacts(
        version=version.version,
        as_of=version.as_of.isoformat(),
        dataset=tracking.read_json(version, "dataset.json"),
        decision=in_words(tags),
        fits={name: notes[name] for name in (fits.SCORES, fits.FIGURES) if name in notes},
        tasks=tracking.read_json(version, "tasks.json"),
        evaluation=tracking.read_json(version, "evaluation.json"),
        notes=notes,
        off=tracking.read_json(version, "labels.json").get("off", {}),
        replaced=tags.get(REPLACED, ""),
        champion=challenge.champion if challenge else "",
        beside=challenge.table() if challenge else None,
        blocking=judgement.table(True) if judgement else None,
        informing=judgement.table(False) if judgement else None,
    )


def judged(tracking: Tracking, version: RegisteredVersion) -> tuple[Challenge | None, Judgement | None]:
    """The comparison and the judgement that a run keeps; None where it has none."""
    compared, found = (tracking.run_json(version.run_id, name) for name in (CHALLENGE, JUDGEMENT))
    return (
        None if compared is None else Challenge.from_dict(compared),
        None if found is None else Judgement.from_dict(found),
    )


def in_words(tags: Mapping[str, str]) -> str:
    """The decision about a version, from its tags."""
    if STATUS not in tags:
        return "It was registered and is not judged yet"
    why = tags.get(BECAUSE) if tags.get(BY) == PERSON else tags.get(REASON)
    return f"{tags[STATUS].capitalize()} by {tags[BY]} on {tags[AT][:10]}{f': {why}' if why else ''}"


def decision_table(decided: Decided) -> pl.DataFrame:
    """The decision, a row a fact."""
    facts = decided.to_dict()
    return pl.DataFrame({"": list(facts), "value": list(facts.values())})


def _tag(tracking: Tracking, version: RegisteredVersion, status: str, by: str, tags: Mapping[str, str]) -> None:
    at = datetime.now(UTC).isoformat(timespec="seconds")
    tracking.tag_version(version, {**tags, BY: by, AT: at, STATUS: status})


def _tell(tracking: Tracking, version: str, challenge: Challenge | None, judgement: Judgement | None) -> None:
    """The card, from the tags as they are now."""
    write_card(tracking, tracking.version(version), challenge, judgement)


def _why(tracking: Tracking, version: RegisteredVersion) -> str:
    reason = tracking.version_tags(version.version).get(BECAUSE if version.status == ROLLED_BACK else REASON)
    return f" ({reason})" if reason else ""
