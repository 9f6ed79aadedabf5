"""One small declarative file per table and figure of the paper."""
