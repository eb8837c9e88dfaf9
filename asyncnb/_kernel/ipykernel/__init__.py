"""All that knows versions of ipykernel."""
