//! How numbers and times are written in a file, where it is not as ISO and programs write them.

use std::str::FromStr;
use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{ArrayRef, AsArray, Date32Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, TimeUnit};
use chrono::format::{Fixed, Item, Numeric, Parsed, StrftimeItems, parse};
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeZone};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notation {
    /// What parts a number from its fraction: a point, or a comma.
    pub decimal: char,
    /// How dates and times are written, as chrono has it; none: as ISO 8601 has it.
    pub formats: Vec<String>,
    /// The zone of times that name none; none: UTC.
    pub timezone: Option<String>,
}

impl Default for Notation {
    fn default() -> Self {
        Self { decimal: '.', formats: vec![], timezone: None }
    }
}

/// Forms that depend on a locale, and one that fails where it prints. Their parts do not show it.
const REFUSED: [&str; 4] = ["%c", "%x", "%v", "%#z"];

/// Why a format is refused, if it is.
pub fn check_format(format: &str) -> Result<(), String> {
    if let Some(why) = StrftimeItems::new(format).find_map(|item| refused(&item)) {
        return Err(format!("`{format}` {why}"));
    }
    // Two of them are a percent sign.
    let parts = format.replace("%%", "");
    match REFUSED.iter().find(|part| parts.contains(**part)) {
        Some(part) => Err(format!(
            "`{format}`: `{part}` has no fixed form; write %Y, %m, %d, %H:%M:%S and %z"
        )),
        None => Ok(()),
    }
}

fn refused(item: &Item<'_>) -> Option<&'static str> {
    use Numeric::{IsoYearDiv100, IsoYearMod100, YearDiv100, YearMod100};
    match item {
        Item::Error => Some("is not a format: write it as %d.%m.%Y %H:%M:%S"),
        Item::Numeric(YearMod100 | YearDiv100 | IsoYearMod100 | IsoYearDiv100, _) => {
            Some("has years without their century, or centuries without their years; write %Y")
        }
        Item::Fixed(Fixed::TimezoneName) => Some(
            "has the name of a zone, which means different offsets; write %z, or set csv.timezone",
        ),
        _ => None,
    }
}

/// Whether a zone is known, such as `Europe/Berlin` or `+01:00`.
pub fn is_timezone(text: &str) -> bool {
    Tz::from_str(text).is_ok()
}

impl Notation {
    /// The texts as a cast to the type reads them: numbers with a point.
    pub(super) fn plain(&self, text: &ArrayRef, kind: &DataType) -> ArrayRef {
        let is_number =
            matches!(kind, DataType::Float32 | DataType::Float64 | DataType::Decimal128(..));
        if self.decimal == '.' || !is_number {
            return text.clone();
        }
        let texts = text.as_string::<i32>().iter();
        Arc::new(texts.map(|text| text.and_then(|t| self.number(t))).collect::<StringArray>())
    }

    /// A number with a point; none where the text has a point that is not its own.
    pub(super) fn number(&self, text: &str) -> Option<String> {
        match self.decimal {
            '.' => Some(text.to_owned()),
            _ if text.contains('.') => None,
            decimal => Some(text.replacen(decimal, ".", 1)),
        }
    }

    /// The type that a cast gives, before it is the requested one: times without a zone are of `timezone`.
    pub(super) fn zoned(&self, kind: &DataType) -> DataType {
        match (kind, &self.timezone) {
            (DataType::Timestamp(unit, Some(_)), Some(zone)) => {
                DataType::Timestamp(*unit, Some(zone.as_str().into()))
            }
            _ => kind.clone(),
        }
    }

    /// Dates and times in the formats; none where the type is another one, or there are no formats.
    pub(super) fn times(&self, text: &ArrayRef, kind: &DataType) -> Option<ArrayRef> {
        if self.formats.is_empty() {
            return None;
        }
        let forms: Vec<Form<'_>> = self.formats.iter().map(|format| Form::of(format)).collect();
        let texts = text.as_string::<i32>().iter();
        match kind {
            DataType::Date32 => {
                let days = texts.map(|text| only(&forms, |form| form.date(text?.trim())));
                let days = days.map(|date| {
                    let days = date? - DateTime::UNIX_EPOCH.date_naive();
                    i32::try_from(days.num_days()).ok()
                });
                Some(Arc::new(days.collect::<Date32Array>()))
            }
            DataType::Timestamp(TimeUnit::Microsecond, zone) => {
                // A type without a zone has what the text says.
                let own = self.timezone.as_deref().filter(|_| zone.is_some()).unwrap_or("+00:00");
                let tz = Tz::from_str(own).ok()?;
                let micros = texts.map(|text| only(&forms, |form| form.time(text?.trim(), &tz)));
                let values = micros.collect::<TimestampMicrosecondArray>();
                Some(Arc::new(values.with_timezone_opt(zone.clone())))
            }
            _ => None,
        }
    }
}

/// What the formats read, where those that fit agree.
fn only<T: PartialEq>(forms: &[Form<'_>], read: impl Fn(&Form<'_>) -> Option<T>) -> Option<T> {
    let mut read = forms.iter().filter_map(read);
    let first = read.next()?;
    read.all(|other| other == first).then_some(first)
}

/// A format in its parts.
struct Form<'a> {
    items: Vec<Item<'a>>,
    has_time: bool,
    has_offset: bool,
}

impl<'a> Form<'a> {
    fn of(format: &'a str) -> Self {
        let items: Vec<Item<'a>> = StrftimeItems::new(format).collect();
        let (has_time, has_offset) = (items.iter().any(is_time), items.iter().any(is_offset));
        Self { items, has_time, has_offset }
    }

    fn parsed(&self, text: &str) -> Option<Parsed> {
        let mut parsed = Parsed::new();
        parse(&mut parsed, text, self.items.iter()).ok().map(|()| parsed)
    }

    fn date(&self, text: &str) -> Option<NaiveDate> {
        // A time of day would be cut off.
        if self.has_time {
            return None;
        }
        self.parsed(text)?.to_naive_date().ok().filter(in_range)
    }

    /// Microseconds since 1970.
    fn time(&self, text: &str, zone: &Tz) -> Option<i64> {
        let local = |t: NaiveDateTime| zone.from_local_datetime(&t).single().map(|t| t.to_utc());
        let time = if self.has_offset {
            self.parsed(text)?.to_datetime().ok()?.to_utc()
        } else if self.has_time {
            local(self.parsed(text)?.to_naive_datetime_with_offset(0).ok()?)?
        } else {
            local(self.date(text)?.and_time(NaiveTime::MIN))?
        };
        let whole = time.timestamp_subsec_nanos() % 1_000 == 0 && in_range(&time.date_naive());
        whole.then(|| time.timestamp_micros())
    }
}

/// Whether it is a part of a time of day.
fn is_time(item: &Item<'_>) -> bool {
    use Numeric::{Hour, Hour12, Minute, Nanosecond, Second, Timestamp};
    match item {
        Item::Numeric(Hour | Hour12 | Minute | Second | Nanosecond | Timestamp, _) => true,
        Item::Fixed(fixed) => matches!(
            fixed,
            Fixed::LowerAmPm
                | Fixed::UpperAmPm
                | Fixed::Nanosecond
                | Fixed::Nanosecond3
                | Fixed::Nanosecond6
                | Fixed::Nanosecond9
                | Fixed::RFC2822
                | Fixed::RFC3339
                // Fractions of a second without a point; the offset among them is refused.
                | Fixed::Internal(_)
        ),
        _ => false,
    }
}

/// Whether it says how far a time is from UTC.
fn is_offset(item: &Item<'_>) -> bool {
    match item {
        Item::Numeric(Numeric::Timestamp, _) => true,
        Item::Fixed(fixed) => matches!(
            fixed,
            Fixed::TimezoneOffset
                | Fixed::TimezoneOffsetZ
                | Fixed::TimezoneOffsetColon
                | Fixed::TimezoneOffsetColonZ
                | Fixed::TimezoneOffsetDoubleColon
                | Fixed::TimezoneOffsetTripleColon
                | Fixed::RFC2822
                | Fixed::RFC3339
        ),
        _ => false,
    }
}

/// `%Y` reads years of fewer and of more digits as well.
fn in_range(date: &NaiveDate) -> bool {
    use chrono::Datelike;
    (1_000..=9_999).contains(&date.year())
}

#[cfg(test)]
mod tests {
    use arrow::util::display::array_value_to_string;

    use super::super::cast::cast_text;
    use super::*;

    fn read(notation: &Notation, text: &str, kind: DataType) -> String {
        let column: ArrayRef = Arc::new(StringArray::from(vec![text]));
        array_value_to_string(&cast_text(&column, &kind, notation).unwrap(), 0).unwrap()
    }

    fn utc() -> DataType {
        DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
    }

    #[test]
    fn a_comma_parts_a_fraction_where_it_is_declared() {
        let comma = Notation { decimal: ',', ..Notation::default() };
        for (text, number) in
            [("1,5", "1.5"), ("-12", "-12.0"), ("1.299", ""), ("1.299,50", ""), ("1,2,3", "")]
        {
            assert_eq!(read(&comma, text, DataType::Float64), number, "{text}");
        }
        assert_eq!(read(&comma, "9,50", DataType::Decimal128(9, 2)), "9.50");
        assert_eq!(read(&Notation::default(), "1,5", DataType::Float64), "");
    }

    #[test]
    fn times_are_read_by_their_formats() {
        let formats = ["%d.%m.%Y %H:%M", "%d.%m.%Y"].map(str::to_owned).to_vec();
        let german = Notation { formats, timezone: Some("Europe/Berlin".into()), decimal: ',' };
        for (text, time) in [
            ("31.01.2026 10:00", "2026-01-31T09:00:00Z"),
            ("31.07.2026", "2026-07-30T22:00:00Z"),
            ("31.13.2026", ""),
            ("31.01.26 10:00", ""),
            // The hour that is skipped, and the hour that is twice.
            ("29.03.2026 02:30", ""),
            ("25.10.2026 02:30", ""),
            ("2026-01-31 10:00", ""),
        ] {
            assert_eq!(read(&german, text, utc()), time, "{text}");
        }
        assert_eq!(read(&german, "31.01.2026", DataType::Date32), "2026-01-31");
        assert_eq!(read(&german, "31.01.2026 10:00", DataType::Date32), "");
    }

    #[test]
    fn what_two_formats_read_differently_is_not_guessed() {
        let formats = ["%d/%m/%Y", "%m/%d/%Y"].map(str::to_owned).to_vec();
        let both = Notation { formats, ..Notation::default() };
        assert_eq!(read(&both, "31/01/2026", DataType::Date32), "2026-01-31");
        assert_eq!(read(&both, "02/02/2026", DataType::Date32), "2026-02-02");
        assert_eq!(read(&both, "01/02/2026", DataType::Date32), "");
    }

    #[test]
    fn offsets_and_fractions_are_kept() {
        let formats = ["%Y%m%dT%H%M%S%.f%z".to_owned()].to_vec();
        let compact = Notation { formats, ..Notation::default() };
        assert_eq!(read(&compact, "20260131T100000.5+0200", utc()), "2026-01-31T08:00:00.500Z");
        assert_eq!(read(&compact, "20260131T100000.123456789+0200", utc()), "");
    }

    #[test]
    fn times_without_a_zone_are_of_the_zone_that_is_declared() {
        let berlin = Notation { timezone: Some("Europe/Berlin".into()), ..Notation::default() };
        assert_eq!(read(&berlin, "2026-01-31 10:00:00", utc()), "2026-01-31T09:00:00Z");
        assert_eq!(read(&berlin, "2026-01-31T10:00:00Z", utc()), "2026-01-31T10:00:00Z");
        assert!(is_timezone("Europe/Berlin") && is_timezone("+01:00") && !is_timezone("Berlin"));
    }

    /// The same part is written in several ways.
    #[test]
    fn parts_of_a_format_count_however_they_are_written() {
        let in_berlin = |format: &str| Notation {
            formats: vec![format.to_owned()],
            timezone: Some("Europe/Berlin".into()),
            ..Notation::default()
        };
        for (format, text, time) in [
            ("%d.%m.%Y %-H:%M", "31.01.2026 9:05", "2026-01-31T08:05:00Z"),
            ("%d.%m.%Y %X", "31.01.2026 09:05:06", "2026-01-31T08:05:06Z"),
            ("%d.%m.%Y %_I:%M %p", "31.01.2026  9:05 PM", "2026-01-31T20:05:00Z"),
            ("%s", "1769850300", "2026-01-31T09:05:00Z"),
            ("%Y-%m-%d %H:%M %::z", "2026-01-31 09:05 +02:00", "2026-01-31T07:05:00Z"),
            ("%Y-%m-%d %H:%M %:::z", "2026-01-31 09:05 +0200", "2026-01-31T07:05:00Z"),
            ("%Y-%m-%d %H:%M %:z", "2026-01-31 09:05 +02:00", "2026-01-31T07:05:00Z"),
            ("%+", "2026-01-31T09:05:00+02:00", "2026-01-31T07:05:00Z"),
            ("%Y-%m-%d%%H", "2026-01-31%H", "2026-01-30T23:00:00Z"),
        ] {
            assert_eq!(read(&in_berlin(format), text, utc()), time, "{format}");
            let date = if format.ends_with("%%H") { "2026-01-31" } else { "" };
            assert_eq!(read(&in_berlin(format), text, DataType::Date32), date, "{format}");
        }
        // Neither minutes alone nor an offset are cut off.
        assert_eq!(read(&in_berlin("%d.%m.%Y %M"), "31.01.2026 05", DataType::Date32), "");
        assert_eq!(read(&in_berlin("%Y-%m-%d %::z"), "2026-01-31 +02:00", utc()), "");
    }

    #[test]
    fn formats_that_would_be_a_guess_are_refused() {
        for (format, is_one) in [
            ("%d.%m.%Y", true),
            ("%d.%m.%Y %-H:%M:%S%.3f %:::z", true),
            ("%Y%%y", true),
            ("%d.%m.%y", false),
            ("%d.%m.%-y", false),
            ("%d.%m.%_y", false),
            ("%G-%V-%u", true),
            ("%g-%V-%u", false),
            ("%C%m%d", false),
            ("%D", false),
            ("%x", false),
            ("%c", false),
            ("%v", false),
            ("%Y-%m-%d %H:%M %Z", false),
            ("%Y-%m-%d %H:%M %#z", false),
            ("%Q", false),
        ] {
            assert_eq!(check_format(format).is_ok(), is_one, "{format}");
        }
    }
}
