"""Files of a run, as a job would have written them."""

from typing import Any

from medsent.runs.folder import RunFolder
from medsent.runs.manifest import Counted, Manifest, Timing


def write_manifest(run: RunFolder, records: int | Counted = 0, **values: Any) -> Manifest:
    """Write a run's manifest, which tells of so many records, all scored."""
    if isinstance(records, int):
        records = Counted(input=records, by_reason={}, duplicate_record_ids=0)
    told = {
        "fingerprint": "0",
        "input": (),
        "records": records,
        "timing": Timing(start_up_s=1.0, total_s=2.0),
        "provenance": {},
    }
    manifest = Manifest.model_validate(told | values)
    run.write(run.manifest_file.name, manifest.to_json())
    return manifest
