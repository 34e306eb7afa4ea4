//! Times in the calendar.

use adieu::time::Timestamp;

/// Formats a time for people: `2026-11-23 17:08:45Z`.
pub(crate) fn written(time: Timestamp) -> String {
    const DAY: u64 = 86_400;
    let (days, second) = (time.as_unix() / DAY, time.as_unix() % DAY);
    // Days since 0000-03-01, in eras of 400 years and years that begin in March, so that the leap day comes last
    // (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days).
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

/// Reads a time as [`written`] and [`rfc3339`] write it; the last parts may be missing.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    let (date, time) = text.trim().split_once([' ', 'T']).unwrap_or((text.trim(), ""));
    let part = |parts: &mut std::str::Split<'_, char>, range: std::ops::RangeInclusive<u64>| {
        let number = parts.next().unwrap_or("0").parse().ok()?;
        range.contains(&number).then_some(number)
    };
    let mut parts = date.split('-');
    let (year, month, day) = (part(&mut parts, 1970..=9999)?, part(&mut parts, 1..=12)?, part(&mut parts, 1..=31)?);
    let time = time.trim_end_matches('Z');
    let mut parts = if time.is_empty() { "0" } else { time }.split(':');
    let (hour, minute, second) = (part(&mut parts, 0..=23)?, part(&mut parts, 0..=59)?, part(&mut parts, 0..=59)?);
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let seconds = (days.checked_sub(719_468)?) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(Timestamp::from_unix(seconds))
}

/// Formats a time as in RFC 3339: `2026-11-23T17:08:45Z`.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    written(time).replace(' ', "T")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_time_can_be_read() {
        for seconds in [0, 951_782_400, 951_868_799, 1_800_000_000, 4_107_542_399, 253_402_300_799] {
            let time = Timestamp::from_unix(seconds);
            assert_eq!((parse(&written(time)), parse(&rfc3339(time))), (Some(time), Some(time)));
        }
        assert_eq!(parse("1970-01-02"), Some(Timestamp::from_unix(86_400)));
        assert_eq!(parse(" 1970-01-02 01:02 "), Some(Timestamp::from_unix(86_400 + 3_720)));
        for wrong in [
            "",
            "x",
            "2026",
            "2026-13-01",
            "2026-01-32",
            "1969-01-01",
            "2026-01-01 24:00",
            "2026-01-01 1:2:99",
            "99999-01-01",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_time_is_written_as_in_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00Z"),
            (951_782_399, "2000-02-28 23:59:59Z"),
            (951_782_400, "2000-02-29 00:00:00Z"),
            (951_868_800, "2000-03-01 00:00:00Z"),
            (1_704_067_199, "2023-12-31 23:59:59Z"),
            (4_107_542_400, "2100-03-01 00:00:00Z"),
            (253_402_300_799, "9999-12-31 23:59:59Z"),
        ] {
            assert_eq!(written(Timestamp::from_unix(seconds)), text);
        }
    }
}
