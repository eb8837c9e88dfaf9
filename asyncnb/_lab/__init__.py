"""The extension of JupyterLab and Notebook 7: hand-written modules, and what puts them in place."""
