"""Readers of data files, one format or column at a time; `interpret.data` is their front."""
