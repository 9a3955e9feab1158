"""The bus: transport of messages by topology. It knows no program; what is inside a body is none of its business."""
