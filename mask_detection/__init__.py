"""Face-mask detection: find faces in pictures, tell who wears a mask, and train the classifier that tells.

The modules are named by stage; data flows one way through them::

    training    folders -> dataset -> model -> report
    detection   sources -> faces -> classifier -> detections -> annotate -> sinks
"""
