from __future__ import annotations

import numpy as np
import pytest

from ple_model.interpretation.expert_shares import ALL, expert_shares


def test_shares_are_the_mean_gates_of_each_group() -> None:
    rng = np.random.default_rng(0)
    gates = rng.dirichlet(np.ones(3), (50, 2)).astype(np.float32)
    segment = np.where(np.arange(50) < 20, "cold start", "warm")
    groups = {"segment": (segment, ("anonymous", "cold start", "warm"))}
    frame = expert_shares(gates, ("churn", "ltv"), ("wide", "temporal", "lightgcn"), groups)
    assert frame.select("by", "group").unique(maintain_order=True).rows() == [
        (ALL, ALL),
        ("segment", "cold start"),
        ("segment", "warm"),
    ]
    assert frame["rows"].to_list() == [50, 50, 20, 20, 30, 30]
    for row in frame.iter_rows(named=True):
        own = np.ones(50, dtype=bool) if row["by"] == ALL else segment == row["group"]
        task = ("churn", "ltv").index(row["task"])
        shares = [row["wide"], row["temporal"], row["lightgcn"]]
        assert shares == pytest.approx(gates[own, task].mean(axis=0), rel=1e-5)
        assert sum(shares) == pytest.approx(1.0, abs=1e-6)


def test_a_table_without_rows_has_no_lines() -> None:
    assert expert_shares(np.zeros((0, 1, 2), np.float32), ("churn",), ("a", "b"), {}).is_empty()
