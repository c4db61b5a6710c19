"""What a run leaves in its folder: blocks that are done, its shards, its list of the erased."""
