"""Results: one finished run is one record; tables and reports are drawn from records."""

from .record import Record, read_record, write_record

__all__ = ["Record", "read_record", "write_record"]
