"""Contains all knowledge of ipykernel and its versions."""
