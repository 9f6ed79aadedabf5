"""Networks of the paper, and what a checkpoint stores to rebuild them."""
