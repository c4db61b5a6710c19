"""The figure that decides between two variants, and whether there is any."""

from medsent.metrics.model import Change, Comparison, Metrics


def is_evaluated(metrics: Metrics) -> bool:
    """Return whether there is a record with both gold and a usable answer."""
    return any(variant.overall.evaluated_rows for variant in metrics.variants.values())


def headline(pair: Comparison) -> tuple[str, Change]:
    """Return the name and the change of the figure that decides: macro F1.

    It is that over the labels with enough opinions, where these are known.
    """
    change = pair.overall["macro_f1_supported"]
    if change.difference is None:
        return "macro F1", pair.overall["macro_f1"]
    whole = pair.overall["macro_f1"]
    if whole.difference is not None and whole.difference.no_interval is None:
        return "macro F1", whole
    return "macro F1 over the labels with enough opinions", change
