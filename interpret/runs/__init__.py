"""The parts of a run folder: schema, rows, arrays, claims on neurons, queries; `interpret.store` is their front."""
