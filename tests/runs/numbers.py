"""The numbers of a metrics.json as versions before gave them, to be compared between versions."""

import json


def numbers(metrics: str) -> str:
    """Return a metrics.json without the text of its findings, which a version words as it likes.

    And without what a comparison has only since there are verdicts.
    """
    values = json.loads(metrics)
    for finding in values["findings"]:
        del finding["text"]
    for pair in values["comparisons"]:
        for name in ("verdict", "opinions"):
            pair.pop(name, None)
        for group in ("overall", "labels", "slices"):
            for change in pair[group].values():
                change.pop("at_most", None)
    return json.dumps(values, indent=1)
