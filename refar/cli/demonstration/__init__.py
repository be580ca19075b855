"""The main job end to end on real data: train, check, export, generate without PyTorch, and a page that shows it.

`stages.run` is the whole of it; `deploy` is the half that runs in a process without PyTorch; `written` keeps
the list of what the demo wrote, which is all that the next demo may replace.
"""
