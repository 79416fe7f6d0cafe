"""What a notebook's first cell runs on Google Colab, once the course is cloned to /content/course.

It installs what Colab lacks (tools/colab.txt, written by the build), and lets this kernel and what it starts find the
course.
"""

import os
import subprocess
import sys

COURSE = "/content/course"

subprocess.run([sys.executable, "-m", "pip", "install", "-q", "-r", f"{COURSE}/tools/colab.txt"], check=True)
sys.path.insert(0, COURSE)
os.environ["PYTHONPATH"] = os.pathsep.join([COURSE, *filter(None, [os.environ.get("PYTHONPATH")])])
os.chdir(f"{COURSE}/notebooks")
sys.modules["google.colab"].output.enable_custom_widget_manager()
