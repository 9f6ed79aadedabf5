"""What MONAI's users need to use the project in their own pipelines, loops and bundles."""
