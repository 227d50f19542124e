"""Figures of a training: learning curve, reliability, risk and coverage, gates, inputs, task transfer.

For the Dagster UI (embedded) and MLflow (artifacts).
"""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

    from ple_model.training.report import EpochReport

_BINS = 10


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> "tuple[Figure, list[Axes]]":
    """A figure that needs no display and belongs to no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.flat)


def as_markdown(figure: "Figure", title: str = "figure") -> dg.MarkdownMetadataValue:
    """The figure inside the text, so that the UI shows it without a file server."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})")


def nothing(why: str) -> "Figure":
    """A figure that says why there is nothing to see."""
    figure, (axis,) = new_figure(5, 0.8)
    axis.axis("off")
    axis.set_title(why, fontsize=9)
    return figure


def write_in_cells(axis: "Axes", image: "AxesImage", words: NDArray[np.str_], size: float = 7) -> None:
    """Write words [rows, columns] into the cells of a heat map, black on light colours and white on dark ones."""
    shades = np.asarray(image.cmap(image.norm(np.asarray(image.get_array(), dtype=np.float64))))
    light = shades[..., :3] @ np.array([0.2126, 0.7152, 0.0722])
    for (row, column), text in np.ndenumerate(words):
        colour = "black" if light[row, column] > 0.45 else "white"
        axis.text(column, row, text, ha="center", va="center", fontsize=size, color=colour)


def learning_curve(history: "Sequence[EpochReport]") -> "Figure":
    """Validation score (mean skill over a constant) and training loss by epoch; the line marks phase 2."""
    figure, (left, right) = new_figure(9, 3.2, 1, 2)
    steps = range(1, len(history) + 1)
    left.plot(steps, [report.score for report in history], marker="o", ms=3)
    left.set_title("validation score")
    left.set_ylabel("mean skill over a constant (1 is perfect)")
    right.plot(steps, [report.loss for report in history], marker="o", ms=3, color="tab:orange")
    right.set_title("training loss")
    right.set_ylabel("weighted sum of the tasks' losses")
    first_of_two = next((i for i, report in enumerate(history, start=1) if report.phase == 2), None)
    for axis in (left, right):
        axis.set_xlabel("epoch")
        axis.grid(alpha=0.3)
        if first_of_two:
            axis.axvline(first_of_two - 0.5, ls="--", color="grey", lw=1)
    return figure


def reliability_bins(predicted: NDArray[np.float64], happened: NDArray[np.float64]) -> list[tuple[float, float, int]]:
    """(mean prediction, observed frequency, rows) of bins of equal mass. `happened` [n] is 0 or 1."""
    order = np.argsort(predicted, kind="stable")
    bins = [chunk for chunk in np.array_split(order, _BINS) if len(chunk)]
    return [(float(predicted[chunk].mean()), float(happened[chunk].mean()), len(chunk)) for chunk in bins]


def reliability(bins: Mapping[str, Sequence[Sequence[float]]]) -> "Figure":
    """Observed frequency against predicted on test rows, with 95 % bars. `bins`: task → `reliability_bins`.

    For a multiclass task: the probability of the most likely class, and whether it was right.
    """
    bins = {task: points for task, points in bins.items() if len(points)}
    if not bins:
        return nothing("no task has a test row with a label")
    columns = 4
    rows = -(-len(bins) // columns)
    figure, axes = new_figure(columns * 2.6, rows * 2.5, rows, columns)
    figure.suptitle("reliability on test rows: what happened against what was predicted; on the dashed line they agree")
    figure.supxlabel("mean predicted probability of a tenth of the rows", fontsize=9)
    figure.supylabel("share of them where it happened (95 % bars)", fontsize=9)
    for axis, (task, points) in zip(axes, bins.items(), strict=False):
        x, y, count = np.asarray(points, dtype=np.float64).T
        error = 1.96 * np.sqrt(np.maximum(y * (1 - y), 1e-9) / count)
        top = max(0.05, float(max(x.max(), (y + error).max()))) * 1.05
        axis.plot([0, top], [0, top], color="grey", lw=1, ls="--")
        axis.errorbar(x, y, yerr=error, marker="o", ms=3, lw=1)
        axis.set_title(task, fontsize=9)
        axis.tick_params(labelsize=7)
    for axis in axes[len(bins) :]:
        axis.axis("off")
    return figure


def published(uncertainty: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Task → `Selective` as plain values, of the tasks that publish an uncertainty (`trust_of`, by task)."""
    return {task: told["selective"] for task, told in uncertainty.items() if told["selective"] is not None}


def risk_coverage(by_task: Mapping[str, Mapping[str, Any]]) -> "Figure":
    """Mean error of the most certain rows against the share of rows kept, on test rows; dashed, an order that knows
    nothing. Bars: mean error by quarter of u. `by_task`: as `published` gives it."""
    by_task = {task: told for task, told in by_task.items() if len(told["curve"]) and len(told["error"])}
    if not by_task:
        return nothing("no task has an uncertainty that ranks its errors")
    columns = 4
    rows = -(-len(by_task) // columns)
    figure, axes = new_figure(columns * 2.6, rows * 2.5, rows, columns)
    figure.suptitle(
        "errors of the most certain test rows; dashed: in an order that knows nothing; bars: by quarter of u",
        fontsize=10,
    )
    figure.supxlabel("share of rows kept, most certain first", fontsize=9)
    figure.supylabel("mean error (loss of the task)", fontsize=9)
    for axis, (task, told) in zip(axes, by_task.items(), strict=False):
        kept, risk = np.asarray(told["curve"], dtype=np.float64).T
        quarters = np.asarray(told["error"])
        middle = (np.arange(len(quarters)) + 0.5) / len(quarters)
        axis.bar(middle, quarters, width=0.9 / len(quarters), color="tab:orange", alpha=0.3)
        axis.plot(kept, risk, lw=1.5)
        axis.axhline(told["aurc_random"], color="grey", lw=1, ls="--")
        axis.set_ylim(0, max(float(quarters.max()), float(risk.max()), 1e-9) * 1.1)
        axis.set_title(task, fontsize=9)
        axis.tick_params(labelsize=7)
    for axis in axes[len(by_task) :]:
        axis.axis("off")
    return figure


def gate_heatmap(gates: Mapping[str, Mapping[str, float]]) -> "Figure":
    """Mean gate weight of each expert (columns) for each task (rows)."""
    tasks = list(gates)
    experts = list(next(iter(gates.values()))) if gates else []
    if not experts:
        return nothing("no gate weighed an expert")
    values = np.array([[gates[task][expert] for expert in experts] for task in tasks])
    figure, (axis,) = new_figure(1.8 + 1.1 * len(experts), 1.2 + 0.3 * len(tasks))
    image = axis.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    axis.set_xticks(range(len(experts)), experts, rotation=30, ha="right", fontsize=8)
    axis.set_yticks(range(len(tasks)), tasks, fontsize=8)
    write_in_cells(axis, image, np.char.mod("%.2f", values))
    axis.set_xlabel("expert")
    axis.set_ylabel("task")
    axis.set_title("which expert a task listens to, mean over test rows", fontsize=9)
    figure.colorbar(image, ax=axis, label="gate weight (a row adds up to 1)")
    return figure


def expert_heatmap(shares: Sequence[Mapping[str, Any]]) -> "Figure":
    """Mean gate weight of each expert (columns) for each task and group of customers (rows): all, then by segment."""
    rows = [row for row in shares if row["by"] != "cluster"]
    if not rows:
        return nothing("no gate weighed an expert")
    experts = [name for name in rows[0] if name not in ("task", "by", "group", "rows")]
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    groups = list(dict.fromkeys(row["group"] for row in rows))
    by_cell = {(row["task"], row["group"]): row for row in rows}
    ordered = [by_cell[task, group] for task in tasks for group in groups]
    values = np.array([[row[expert] for expert in experts] for row in ordered])
    figure, (axis,) = new_figure(3.4 + 1.0 * len(experts), 1.2 + 0.2 * len(ordered))
    image = axis.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    axis.set_xticks(range(len(experts)), experts, rotation=30, ha="right", fontsize=8)
    labels = [f"{row['task']}, {row['group']} ({row['rows']:,})" for row in ordered]
    axis.set_yticks(range(len(ordered)), labels, fontsize=7)
    write_in_cells(axis, image, np.char.mod("%.2f", values), size=6)
    axis.set_xlabel("expert")
    axis.set_ylabel("task, segment (test rows)")
    axis.set_title("which expert a task listens to, by segment", fontsize=9)
    figure.colorbar(image, ax=axis, label="gate weight (a row adds up to 1)")
    return figure


def input_heatmap(importance: Sequence[Mapping[str, Any]]) -> "Figure":
    """The loss that shuffling an input (rows) adds to a task (columns), in % of its loss; in parentheses where it is
    within two standard errors of 0. An input's label names the share of rows that read it."""
    from matplotlib.colors import SymLogNorm

    if not importance:
        return nothing("no input was shuffled")
    inputs = list(dict.fromkeys(row["input"] for row in importance))
    tasks = list(dict.fromkeys(row["task"] for row in importance))
    by_cell = {(row["input"], row["task"]): row for row in importance}
    cells = [[by_cell[name, task] for task in tasks] for name in inputs]
    values = np.array([[100 * cell["increase"] / max(abs(cell["loss"]), 1e-9) for cell in row] for row in cells])
    noise = np.array([[abs(cell["increase"]) <= 2 * cell.get("error", 0.0) for cell in row] for row in cells])
    figure, (axis,) = new_figure(4 + 0.6 * len(tasks), 2.4 + 0.28 * len(inputs))
    most = max(float(np.abs(values).max(initial=0)), 1e-9)
    image = axis.imshow(values, cmap="RdBu_r", norm=SymLogNorm(0.1, vmin=-most, vmax=most), aspect="auto")
    axis.set_xticks(range(len(tasks)), tasks, rotation=60, ha="right", fontsize=8)
    read = [f"{name} ({row[0].get('share', 1.0):.0%} of rows)" for name, row in zip(inputs, cells, strict=True)]
    axis.set_yticks(range(len(inputs)), read, fontsize=8)
    shown = np.char.mod("%.1f", values)
    write_in_cells(axis, image, np.where(noise, np.char.add(np.char.add("(", shown), ")"), shown), size=6)
    axis.set_xlabel("task")
    axis.set_ylabel("input (share of test rows that read it)")
    axis.set_title(
        "How much worse a prediction gets when one input is shuffled among the rows that read it (in parentheses: no "
        "more than chance).\nBelow 0: the task is predicted better without what the input says, so it misleads here.",
        fontsize=9,
    )
    figure.colorbar(image, ax=axis, label="loss added, % of the task's loss")
    return figure


def transfer_heatmaps(report: Mapping[str, Any]) -> "Figure":
    """adaTT at the end of an epoch (`AdaTTReport.to_dict`): affinity, and what each task (row) takes of each other."""
    tasks = report["tasks"]
    figure, axes = new_figure(2 * (2.2 + 0.3 * len(tasks)), 2 + 0.28 * len(tasks), columns=2)
    parts = (("affinity", "cosine of gradients", "RdBu_r", (-1, 1)), ("weights", "transfer weights", "viridis", None))
    for axis, (key, title, colours, limits) in zip(axes, parts, strict=True):
        low, high = limits or (0.0, None)
        image = axis.imshow(np.array(report[key]), cmap=colours, vmin=low, vmax=high, aspect="auto")
        axis.set_xticks(range(len(tasks)), tasks, rotation=60, ha="right", fontsize=7)
        axis.set_yticks(range(len(tasks)), tasks, fontsize=7)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("from the task", fontsize=8)
        axis.set_ylabel("to the task", fontsize=8)
        figure.colorbar(image, ax=axis, label="no unit")
    conflicts = sum(len(others) for others in report["conflicts"].values())
    figure.suptitle(
        f"adaTT, epoch {report['epoch']} ({report['phase']}): r = {report['prior_share']:.2f}, {conflicts} pairs in "
        f"conflict, {report['share']:.1%} of the epoch's time",
        fontsize=9,
    )
    return figure
