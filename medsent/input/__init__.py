"""Parquet shards in, records out: files found, columns settled, rows checked and ordered."""
