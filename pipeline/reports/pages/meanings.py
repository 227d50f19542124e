"""Columns and inputs in words."""

from functools import lru_cache

from feature_assets import registry

SETS = {
    "features_normalised": "all columns that are scaled",
    "features_raw": "all columns in natural units",
    "topology": "persistence diagrams, their statistics and columns together",
    "clusters": "cluster probabilities and columns of the clusters together",
    "hidden_states": "the three hidden Markov modes and their columns together",
    "sequences": "daily sequences and the columns that encode them together",
}
"""Joint sets of inputs that the permutation importance shuffles (`ple_model.interpretation.permutation`)."""


@lru_cache(maxsize=1)
def _meanings() -> dict[str, tuple[str, str]]:
    """Source → (feature group, meaning)."""
    found: dict[str, tuple[str, str]] = {}
    for group in registry.registry().values():
        for side in group.side_inputs:
            found[side.name] = (group.name, side.meaning)
    found |= {name: ("", meaning) for name, meaning in SETS.items()}
    for row in registry.catalogue().iter_rows(named=True):
        more = [part for part in (row["unit"], row["window"]) if part and part not in row["meaning"]]
        found[row["name"]] = (row["group"], f"{row['meaning']} ({', '.join(more)})" if more else row["meaning"])
    return found


def group_of(source: str) -> str:
    """Feature group of a column or input; empty for one that the registry does not have."""
    return _meanings().get(source, ("", ""))[0]


def meaning_of(source: str) -> str:
    """Meaning of a column or input with its unit and window; empty for one that the registry does not have."""
    return _meanings().get(source, ("", ""))[1]
