"""What batched bounds and attacks need beside the bounds themselves, which are `certify.backward`: processes on one thread."""
