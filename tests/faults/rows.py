"""All rows of the matrix, in the order in which they are run."""

import checkpoint_input_rows
import checkpoint_rows
import command_rows
import config_rows
import disk_rows
from harness import ROWS
import input_rows
import machine_rows
import process_rows
import run_rows
import shard_rows
import trap_rows
import worker_rows
