"""The harness lies beside the tests, so that its scripts run without pytest as well."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
