"""Many concepts as one Ray job: `plan` what to do, `queue` who does what, `lane` a worker, `job` the driver, `summary`."""
