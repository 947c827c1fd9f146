"""The widgets: each draws a ViewState and emits intentions; only the main window knows all."""
