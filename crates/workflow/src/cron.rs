//! The five-field cron of `on.schedule`, as GitHub validates and runs it
//! (languageservices `workflow-parser/src/model/converter/cron.ts`).
//!
//! Day of month and day of week are alternatives when neither is `*`; Sunday is 0 only; no
//! `@daily`. `*/24` for hours, which the npm package refuses and GitHub runs, is accepted.

use jiff::civil::DateTime;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use trainyard_model::Timestamp;

/// A schedule that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    any_day: bool,
    any_weekday: bool,
    shortest_gap: i64,
}

struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const MONTHS: &[&str] =
    &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const FIELDS: [Field; 5] = [
    Field { name: "minute", min: 0, max: 59, names: &[] },
    Field { name: "hour", min: 0, max: 23, names: &[] },
    Field { name: "day of month", min: 1, max: 31, names: &[] },
    Field { name: "month", min: 1, max: 12, names: MONTHS },
    Field { name: "day of week", min: 0, max: 6, names: WEEKDAYS },
];

impl Field {
    fn number(&self, text: &str) -> Result<u32, String> {
        if let Some(at) = self.names.iter().position(|n| n.eq_ignore_ascii_case(text)) {
            return Ok(u32::try_from(at).unwrap_or(0) + self.min);
        }
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let number = text.parse::<u32>().ok().filter(|_| digits);
        match number {
            Some(n) if (self.min..=self.max).contains(&n) => Ok(n),
            Some(7) if self.name == "day of week" => {
                Err("day of week is 0 to 6; Sunday is 0".into())
            }
            Some(n) => Err(format!("{} {n} is not in {} to {}", self.name, self.min, self.max)),
            None => Err(format!("`{text}` is no {}", self.name)),
        }
    }

    /// The set of values of a field, as bits.
    fn bits(&self, text: &str) -> Result<u64, String> {
        let mut bits = 0;
        for piece in text.split(',') {
            if piece.is_empty() {
                return Err(format!("a value is missing around a `,` in the {}", self.name));
            }
            bits |= self.piece(piece)?;
        }
        Ok(bits)
    }

    fn piece(&self, piece: &str) -> Result<u64, String> {
        let (range, step) = match piece.split_once('/') {
            None => (piece, None),
            Some((range, step)) => {
                let whole = !step.is_empty() && step.bytes().all(|b| b.is_ascii_digit());
                let number = step.parse::<u32>().ok().filter(|_| whole);
                match number {
                    Some(n) if n > 0 && n <= self.max + 1 => (range, Some(n)),
                    Some(_) => return Err(format!("step `/{step}` is out of range")),
                    None => return Err(format!("`/{step}` is no step")),
                }
            }
        };
        let (from, to) = if range == "*" {
            (self.min, self.max)
        } else if let Some((from, to)) = range.split_once('-') {
            let (from, to) = (self.number(from)?, self.number(to)?);
            if to < from {
                return Err(format!("the range `{range}` is reversed"));
            }
            (from, to)
        } else {
            let from = self.number(range)?;
            (from, if step.is_some() { self.max } else { from })
        };
        Ok((from..=to).step_by(step.unwrap_or(1) as usize).fold(0, |bits, n| bits | 1 << n))
    }
}

impl Cron {
    /// Reads a schedule; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Cron, String> {
        let text = text.trim();
        if text.starts_with('@') {
            return Err(format!("`{text}` is not supported by GitHub: write five fields"));
        }
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(format!(
                "a schedule has five fields (minute hour day month weekday), this has {}",
                fields.len()
            ));
        };
        Ok(Cron {
            minutes: FIELDS[0].bits(minute)?,
            hours: FIELDS[1].bits(hour)?,
            days: FIELDS[2].bits(day)?,
            months: FIELDS[3].bits(month)?,
            weekdays: FIELDS[4].bits(weekday)?,
            any_day: day == "*",
            any_weekday: weekday == "*",
            shortest_gap: shortest_gap(minute),
        })
    }

    /// Minutes between the closest runs, judged by the minute field alone as GitHub's warning
    /// does.
    pub fn shortest_gap_minutes(&self) -> i64 {
        self.shortest_gap
    }

    fn matches_day(&self, at: DateTime) -> bool {
        let has = |bits: u64, n: i8| bits & (1u64 << n.unsigned_abs()) != 0;
        let day = has(self.days, at.day());
        let weekday = has(self.weekdays, at.weekday().to_sunday_zero_offset());
        has(self.months, at.month())
            && match (self.any_day, self.any_weekday) {
                (false, false) => day || weekday,
                _ => day && weekday,
            }
    }

    /// The first run strictly after `after`; `None` if there is none in eight years. A local time
    /// that a time zone skips moves to the end of the gap.
    pub fn next_after(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let start = jiff::Timestamp::from_millisecond(after.0).ok()?;
        let local = zone.to_datetime(start);
        let mut day = local.date();
        for _ in 0..366 * 8 + 2 {
            if self.matches_day(day.to_datetime(jiff::civil::Time::midnight())) {
                let found = self.first_in_day(day, start, zone);
                if let Some(found) = found {
                    return Some(Timestamp(found.as_millisecond()));
                }
            }
            day = day.tomorrow().ok()?;
        }
        None
    }

    fn first_in_day(
        &self,
        day: jiff::civil::Date,
        after: jiff::Timestamp,
        zone: &TimeZone,
    ) -> Option<jiff::Timestamp> {
        for hour in (0..24i8).filter(|h| self.hours & (1 << h) != 0) {
            for minute in (0..60i8).filter(|m| self.minutes & (1 << m) != 0) {
                let local = day.at(hour, minute, 0, 0);
                let ambiguous = zone.to_ambiguous_timestamp(local);
                let at = match ambiguous.offset() {
                    // The later offset applied to a skipped time gives a time before the gap, the
                    // earlier one a time after it; the gap ends where they meet.
                    jiff::tz::AmbiguousOffset::Gap { before, after } => {
                        let inside = before.to_timestamp(local).ok()?;
                        let end = zone.following(after.to_timestamp(local).ok()?).next();
                        end.map_or(inside, |t| t.timestamp())
                    }
                    _ => ambiguous.compatible().ok()?,
                };
                if at > after {
                    return Some(at);
                }
            }
        }
        None
    }
}

/// The gap between runs by the minute field alone. A list is judged by its numbers; where a piece
/// of it is more than a number, by what that piece begins with, as JavaScript's `parseInt` reads.
fn shortest_gap(minute: &str) -> i64 {
    let leading = |text: &str| {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<i64>().ok()
    };
    if let Some((_, step)) = minute.split_once('/') {
        return leading(step).unwrap_or(60);
    }
    if minute.contains(',') {
        let mut values: Vec<i64> = minute.split(',').filter_map(leading).collect();
        values.sort_unstable();
        let first = values.first().copied().unwrap_or(0);
        values.push(first + 60);
        return values.windows(2).map(|w| w[1] - w[0]).min().unwrap_or(60);
    }
    if minute == "*" || minute.split_once('-').is_some_and(|(a, b)| a != b) {
        return 1;
    }
    60
}

/// A time zone by its IANA name.
pub fn time_zone(name: &str) -> Option<TimeZone> {
    TimeZoneDatabase::bundled().get(name.trim()).ok()
}
