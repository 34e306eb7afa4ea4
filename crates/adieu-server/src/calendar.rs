//! Times in the calendar.

use std::time::Duration;

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

/// Returns the beginning of a date in UTC: `2026-11-23`.
pub(crate) fn date(text: &str) -> Option<Timestamp> {
    let mut numbers = text.split('-').map(|part| {
        let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<u64>().ok().filter(|_| is_number)
    });
    let (year, month, day) = (numbers.next()??, numbers.next()??, numbers.next()??);
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 => 28 + u64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if numbers.next().is_some() || !(1970..=9999).contains(&year) || !(1..=days).contains(&day) {
        return None;
    }
    // The inverse of the function that writes times: years begin in March.
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    Some(Timestamp::from_unix(0).plus(Duration::from_secs((days - 719_468) * 86_400)))
}

/// Reads a time as [`written`] and [`rfc3339`] write it; without the time of the day, the beginning of the date.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    let (day, time) = text.trim().split_once([' ', 'T']).unwrap_or((text.trim(), "00:00:00"));
    let mut seconds = 0;
    let mut parts = time.trim_end_matches('Z').split(':');
    for limit in [24, 60, 60] {
        let part = parts.next()?;
        let is_number = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        seconds = seconds * 60 + part.parse::<u64>().ok().filter(|part| is_number && *part < limit)?;
    }
    let day = date(day).filter(|_| parts.next().is_none())?;
    Some(day.plus(Duration::from_secs(seconds)))
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
        assert_eq!(parse(" 1970-01-02 "), Some(Timestamp::from_unix(86_400)));
        for wrong in [
            "",
            "x",
            "2026",
            "2026-02-29",
            "2026-01-01 24:00:00",
            "2026-01-01 00:60:00",
            "2026-01-01 00:00:60",
            "2026-01-01 1:2:3",
            "2026-01-01 00:00",
            "2026-01-01 00:00:00:00",
            "2026-01-01 +1:00:00",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_date_is_the_beginning_of_that_day() {
        for text in ["1970-01-01", "2000-02-29", "2024-02-29", "2026-11-29", "2100-03-01", "9999-12-31"] {
            assert_eq!(date(text).map(written), Some(format!("{text} 00:00:00Z")));
        }
        for text in
            ["", "2026", "2026-11", "2026-11-29-1", "2026-13-01", "2026-02-29", "2026-11-0", "+2026-1-1", "1969-12-31"]
        {
            assert_eq!(date(text), None, "{text}");
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
