"""Whether the service in use is as it is documented: two or three requests, and what each assumption came to.

`examine` asks; `judge` decides from the raw answers alone. Provisional.
"""

from clicksgroup.doctor.asking import REQUESTS, Recorder, examine
from clicksgroup.doctor.checks import judge
from clicksgroup.doctor.findings import Answer, Finding, Verdict

__all__ = ["REQUESTS", "Answer", "Finding", "Recorder", "Verdict", "examine", "judge"]
