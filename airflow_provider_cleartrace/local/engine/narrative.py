"""The narrative: a model and its data told in plain English, from a template and counted facts alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from airflow_provider_cleartrace.local.engine.facts import Facts, facts
from airflow_provider_cleartrace.local.engine.figures import decimal, listing, number, percent
from airflow_provider_cleartrace.local.engine.model import FAITHFUL_R2, Model
from airflow_provider_cleartrace.local.engine.segmentation import Segmentation
from airflow_provider_cleartrace.local.engine.table import Table

_CLEAR_SEGMENTS = 0.25
"""Silhouette from which clusters are usually called separated (Kaufman and Rousseeuw, 1990)."""
_ITEM = "- "
"""What a sentence begins with that is an item of a Markdown list."""


def narrate(
    model: Model,
    table: Table,
    *,
    kpi_name: str,
    context: str | None = None,
    segmentation: Segmentation | None = None,
) -> str:
    """Tell what a model predicts on some rows, how well, and why.

    The same model and rows give the same text, and every figure in it is one of `facts`, rounded.

    Args:
        model: a fitted model.
        table: n >= 1 rows with the model's features, and the target if it is known.
        kpi_name: what to call the target.
        context: a note to quote at the top.
        segmentation: segments to tell of.

    Returns:
        Markdown with headings and short paragraphs.

    Raises:
        InputError: no row, missing feature columns, cells of the wrong type.
    """
    return tell(facts(model, table, kpi_name=kpi_name, context=context, segmentation=segmentation))


def tell(known: Facts) -> str:
    """Write the narrative of `facts`; knows nothing else."""
    sections = {
        "What the model predicts": _prediction(known),
        f"What drives {known['kpi']}": _drivers(known),
        "Segments": _segments(known),
        "Data quality": _quality(known),
        "How to read this": _caveats(known),
    }
    blocks = [f"# {known['kpi']}: what the model has learned"]
    if known["context"]:
        blocks.append(f"Context: {known['context']}")
    for heading, sentences in sections.items():
        told = list(sentences)
        if told:
            blocks += [f"## {heading}", _paragraph(told)]
    return "\n\n".join(blocks) + "\n"


def how_to_read(known: Facts) -> str:
    """Write the section on what not to conclude alone, for a text that somebody else wrote from `facts`."""
    return f"## How to read this\n\n{_paragraph(list(_caveats(known)))}"


def _paragraph(sentences: list[str]) -> str:
    """Join sentences; those that are list items stand on lines of their own, after an empty one."""
    text = " ".join(sentence for sentence in sentences if not sentence.startswith(_ITEM))
    items = [sentence for sentence in sentences if sentence.startswith(_ITEM)]
    return "\n".join([text, "", *items]) if items else text


def _prediction(known: Facts) -> Iterator[str]:
    kpi, model, data = known["kpi"], known["model"], known["data"]
    target = kpi if model["target"] == kpi else f"{kpi} (column {model['target']})"
    features = _count(model["features"], "feature")
    yield f"The model predicts {target} from {features}; it was applied to {_count(data['rows'], 'row')}."
    if model["task"] == "regression":
        low, high = (number(quartile) for quartile in data["quartiles"])
        yield f"The mean predicted {kpi} is {number(data['mean_prediction'])}."
        yield f"Half of the predictions lie between {low} and {high}."
        if data["mean_observed"] is not None:
            yield f"The observed mean is {number(data['mean_observed'])}{_known_for(data)}."
    elif model["task"] == "binary":
        outcome = f"{model['target']} = {model['classes'][1]}"
        yield f"The mean predicted probability of {outcome} is {percent(data['mean_prediction'])}."
        yield f"{outcome} is predicted for {percent(data['predicted_share'])} of the rows."
        if data["mean_observed"] is not None:
            yield f"It was observed for {percent(data['mean_observed'])}{_known_for(data)}."
    else:
        shares = sorted(data["predicted_shares"].items(), key=lambda item: -item[1])
        predicted = listing([f"{label} for {percent(share)}" for label, share in shares])
        yield f"Predicted for {model['target']}: {predicted} of the rows."
    yield from _performance(model["metrics"])


def _known_for(data: Facts) -> str:
    if data["observed_rows"] == data["rows"]:
        return ""
    return f" (known for {_count(data['observed_rows'], 'row')})"


def _performance(metrics: Mapping[str, float]) -> Iterator[str]:
    held_out = f"On {_count(int(metrics.get('validation_rows', 0)), 'held-out row')}"
    if "validation_r2" in metrics:
        error = f"root mean squared error {number(metrics['validation_rmse'])}"
        if metrics["validation_r2"] > 0:
            yield f"{held_out} it explains {percent(metrics['validation_r2'])} of the variance ({error})."
        else:
            yield f"{held_out} it does no better than the mean ({error}): do not rely on it."
    elif "validation_accuracy" in metrics:
        ranking = f" (AUC {decimal(metrics['validation_auc'])})" if "validation_auc" in metrics else ""
        yield f"{held_out} it gets the class right for {percent(metrics['validation_accuracy'])}{ranking}."
    else:
        yield "There were no labels to measure its accuracy with."


def _drivers(known: Facts) -> Iterator[str]:
    drivers = known["drivers"]
    if not drivers:
        yield "No feature influences the prediction: the model is constant."
        return
    total = percent(sum(driver["importance"] for driver in drivers))
    yield f"The strongest features account for {total} of the model's sensitivity:"
    for driver in drivers:
        share = percent(driver["importance"])
        yield f"{_ITEM}{driver['feature']} ({share}): {_direction(driver)}."


def _direction(driver: Facts) -> str:
    if driver["direction"] == "by level":
        highest, lowest = driver["highest_level"], driver["lowest_level"]
        return f"the prediction is highest with {highest} and lowest with {lowest}, other features equal"
    if driver["direction"] == "by class":
        return f"a higher value speaks for {driver['speaks_for']} and against {driver['speaks_against']}"
    if driver["direction"] == "by level and class":
        return f"{driver['level']} speaks most for {driver['speaks_for']}"
    if driver["direction"] == "mixed":
        return "whether a higher value raises or lowers the prediction differs from row to row"
    if driver["direction"] == "unclear":
        return "no clear direction in this data"
    rows = "all rows" if driver["agreement"] == 1 else f"{percent(driver['agreement'])} of the rows"
    return f"a higher value {driver['direction']} the prediction in {rows}"


def _segments(known: Facts) -> Iterator[str]:
    segments, task = known["segments"], known["model"]["task"]
    if segments is None:
        return
    clarity = "clearly" if segments["quality"] >= _CLEAR_SEGMENTS else "only gradually"
    yield f"{_count(segments['rows'], 'row')} were grouped by the reasons behind their predictions."
    quality = decimal(segments["quality"])
    yield f"The {segments['count']} segments are {clarity} separated (quality {quality})."
    for persona in segments["personas"]:
        figures = [_count(persona["size"], "row"), percent(persona["share"])]
        if task == "regression":
            figures.append(f"mean prediction {number(persona['mean_prediction'])}")
        elif task == "binary":
            figures.append(f"mean probability {percent(persona['mean_prediction'])}")
        reasons = f"driven by {listing(persona['top_drivers'])}" if persona["top_drivers"] else "no driver"
        yield f"{_ITEM}**{persona['name']}** ({', '.join(figures)}): {reasons}."


def _quality(known: Facts) -> Iterator[str]:
    quality, metrics = known["quality"], known["model"]["metrics"]
    if quality["columns_with_gaps"]:
        columns = _count(quality["columns_with_gaps"], "feature")
        yield f"{percent(quality['missing_cells'])} of all feature values are missing, in {columns}."
        yield f"Most are missing in {_shares(quality['most_missing'])}."
    else:
        yield "No feature value is missing."
    if quality["columns_beyond_training"]:
        columns = _count(quality["columns_beyond_training"], "feature")
        named = _shares(quality["most_beyond_training"])
        yield f"{columns} with values the model was not trained on, most in {named}."
        yield "Predictions for those rows are extrapolations."
    dropped = int(metrics.get("dropped_rows", 0))
    left_out = f"; {_count(dropped, 'row')} without a target value had to be left out" if dropped else ""
    yield f"The model was trained on {_count(int(metrics.get('training_rows', 0)), 'row')}{left_out}."
    yield from known["model"]["notes"]


def _caveats(known: Facts) -> Iterator[str]:
    fidelity = known["model"]["fidelity"]
    yield "Drivers and segments describe how the model reacts."
    yield "These are associations in the data; they do not prove that changing a feature changes the outcome."
    yield "The held-out rows also guided the choice of settings; expect slightly weaker results on new data."
    if fidelity is None:
        return
    yield "This model imitates another one, its teacher."
    if fidelity["r2"] > 0:
        variance = f"{percent(fidelity['r2'])} of the variance of the teacher's predictions"
        yield f"On held-out rows it reproduces {variance}."
    else:
        yield "On held-out rows it does not follow the teacher's predictions."
    if "agreement" in fidelity:
        yield f"Both give the same class for {percent(fidelity['agreement'])} of these rows."
    if fidelity["r2"] >= FAITHFUL_R2:
        yield "Its explanations may be read as the teacher's."
    else:
        yield "Read its explanations as a sketch of the teacher's."


def _shares(shares: Mapping[str, float]) -> str:
    return listing([f"{name} ({percent(share)})" for name, share in shares.items()])


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
