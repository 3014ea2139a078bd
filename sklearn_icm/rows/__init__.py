"""Rows of a user as training sees them: tensors or mapped files, dealt in batches."""
