//! `strftime_now`, which some templates use to tell the model the date. Times are UTC.

use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// The longest result of one directive, in bytes.
pub(super) const MAX_DIRECTIVE: usize = 24;

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// Writes a time by a format of C's `strftime`: `%Y %y %m %d %e %j %H %I %M %S %p %B %b %h %A %a %F %T %D %R %s %Z %z %n %t %%`,
/// with `-` after the percent sign for numbers without leading zeros. Other directives stay as they are.
pub(super) fn strftime(format: &str, seconds: u64) -> String {
    let time = Time::new(seconds);
    let mut out = String::new();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let before = rest.as_str();
        let first = rest.next();
        let (bare, directive) = if first == Some('-') { (true, rest.next()) } else { (false, first) };
        match directive.and_then(|directive| time.directive(directive)) {
            Some(text) if bare => out.push_str(match text.trim_start_matches(['0', ' ']) {
                "" => "0",
                bare => bare,
            }),
            Some(text) => out.push_str(&text),
            None => {
                out.push('%');
                rest = before.chars();
            }
        }
    }
    out
}

/// A moment in the Gregorian calendar.
struct Time {
    seconds: u64,
    year: u64,
    /// From 1.
    month: usize,
    day: u64,
    /// From 1.
    day_of_year: u64,
    /// Monday is 0.
    weekday: usize,
    hour: u64,
    minute: u64,
    second: u64,
}

impl Time {
    fn new(seconds: u64) -> Self {
        let days = seconds / 86_400;
        let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        // 400 years have 146097 days; 1970 is the first of such a period for counting.
        let mut year = 1970 + days / 146_097 * 400;
        let mut day_of_year = days % 146_097;
        while day_of_year >= 365 + u64::from(is_leap(year)) {
            day_of_year -= 365 + u64::from(is_leap(year));
            year += 1;
        }
        let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let (mut month, mut day) = (0, day_of_year);
        while day >= lengths[month] {
            day -= lengths[month];
            month += 1;
        }
        Time {
            seconds,
            year,
            month: month + 1,
            day: day + 1,
            day_of_year: day_of_year + 1,
            // The first of January 1970 was a Thursday.
            weekday: ((days + 3) % 7) as usize,
            hour: seconds / 3600 % 24,
            minute: seconds / 60 % 60,
            second: seconds % 60,
        }
    }

    fn directive(&self, directive: char) -> Option<String> {
        let Time { seconds, year, month, day, day_of_year, weekday, hour, minute, second } = self;
        Some(match directive {
            'Y' => format!("{year}"),
            'y' => format!("{:02}", year % 100),
            'm' => format!("{month:02}"),
            'd' => format!("{day:02}"),
            'e' => format!("{day:2}"),
            'j' => format!("{day_of_year:03}"),
            'H' => format!("{hour:02}"),
            'I' => format!("{:02}", (hour + 11) % 12 + 1),
            'M' => format!("{minute:02}"),
            'S' => format!("{second:02}"),
            'p' => if *hour < 12 { "AM" } else { "PM" }.to_owned(),
            'B' => MONTHS[month - 1].to_owned(),
            'b' | 'h' => MONTHS[month - 1][..3].to_owned(),
            'A' => DAYS[*weekday].to_owned(),
            'a' => DAYS[*weekday][..3].to_owned(),
            'F' => format!("{year}-{month:02}-{day:02}"),
            'T' => format!("{hour:02}:{minute:02}:{second:02}"),
            'R' => format!("{hour:02}:{minute:02}"),
            'D' => format!("{month:02}/{day:02}/{:02}", year % 100),
            's' => format!("{seconds}"),
            'Z' => "UTC".to_owned(),
            'z' => "+0000".to_owned(),
            'n' => "\n".to_owned(),
            't' => "\t".to_owned(),
            '%' => "%".to_owned(),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_the_calendar() {
        let all = "%Y-%m-%d %H:%M:%S %j %a %B";
        assert_eq!(strftime(all, 0), "1970-01-01 00:00:00 001 Thu January");
        assert_eq!(strftime(all, 951_782_400), "2000-02-29 00:00:00 060 Tue February");
        assert_eq!(strftime(all, 1_735_689_599), "2024-12-31 23:59:59 366 Tue December");
        assert_eq!(strftime(all, 4_107_542_400), "2100-03-01 00:00:00 060 Mon March");
        assert_eq!(strftime("%F %T", 13_569_465_600), "2400-01-01 00:00:00");
    }

    #[test]
    fn directives() {
        assert_eq!(strftime("%-d %b %y, %-I %p|%e|%%|%q|%", 86_400 * 4 + 3600 * 13), "5 Jan 70, 1 PM| 5|%|%q|%");
        assert_eq!(strftime("%-H%-é", 0), "0%-é");
    }
}
