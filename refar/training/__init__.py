"""What a training leaves behind, without PyTorch: the config, the run folder, the log. The loop is `refar.torch.loop`."""
