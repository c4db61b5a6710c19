"""What a run leaves in its folder: files, each read as one model, and blocks that are done."""
