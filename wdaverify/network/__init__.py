"""Networks: the model that is verified, and the ONNX reader."""
