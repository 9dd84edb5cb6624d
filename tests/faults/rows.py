"""All rows of the matrix, in the order in which they are run."""

# pylint: disable=unused-import,g-bad-import-order
import checkpoint_rows
import checkpoint_input_rows
import run_rows
import input_rows
import process_rows
import config_rows
import machine_rows
from harness import ROWS
