//! What an operator asks of a generation that is live.

use serde::{Deserialize, Serialize};

use crate::Problem;

/// Which lines of the journal, of one service's units: all replicas, of whatever instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogRequest {
    pub service: String,
    /// The last so many; all without.
    pub lines: Option<u32>,
    /// As `journalctl --since=` reads it.
    pub since: Option<String>,
    /// As `journalctl --grep=` reads it.
    pub grep: Option<String>,
    /// New lines as they come, until the client closes its side of the connection.
    pub follow: bool,
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Microseconds since 1970, by the host's clock.
    pub at: u64,
    pub unit: String,
    /// As in syslog: 0 is an emergency, 7 is for debugging.
    pub priority: Option<u8>,
    pub message: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestartRequest {
    pub service: String,
    pub operator: String,
    pub reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartReport {
    /// Units that were restarted and are healthy, in this order.
    pub restarted: Vec<String>,
    /// What stopped it; later replicas were left as they are.
    pub problem: Option<Problem>,
}

/// Switches maintenance on or off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceRequest {
    /// `None`: every service that honours it.
    pub service: Option<String>,
    /// `None`: only asks.
    pub set: Option<bool>,
    pub operator: String,
    pub reason: Option<String>,
    /// When it ends by itself, of what is switched on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Until>,
}

/// When something ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// In seconds since 1970, by the host's clock.
    At(i64),
    /// In so many seconds.
    Within(u64),
}

/// A service that honours maintenance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintained {
    pub service: String,
    pub on: bool,
    /// Who switched it on, and when (seconds since 1970). Absent if somebody made the file by hand.
    pub operator: Option<String>,
    pub since: Option<i64>,
    pub reason: Option<String>,
    /// When it ends by itself (seconds since 1970), if it does.
    #[serde(default)]
    pub until: Option<i64>,
}

/// How a host is, apart from the health of its services.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Units that are otherwise than the generation says.
    pub drift: Vec<Drift>,
    /// Why the host wants a reboot.
    pub reboot: Option<String>,
    pub disks: Vec<Disk>,
    /// Services that are in maintenance.
    pub maintenance: Vec<Maintained>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Drift {
    /// Or what of the host itself: `/etc/…`, `sysctl …`, `user …`.
    pub unit: String,
    pub problem: String,
}

/// A file system, as df(1) counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    pub path: String,
    pub used_percent: u8,
    /// For whoever is not root.
    pub free_bytes: u64,
}

/// Words as arguments that no shell changes: every byte but letters, digits and `-_./:=@,+` is `%`
/// and two hexadecimal digits. An empty word is `%`.
pub fn encode_word(word: &[u8]) -> String {
    if word.is_empty() {
        return "%".to_owned();
    }
    let mut text = String::with_capacity(word.len());
    for byte in word {
        // A leading `=` or `-` means something to some shell or program.
        let plain = byte.is_ascii_alphanumeric() || (!text.is_empty() && b"-_./:=@,+".contains(byte)) || *byte == b'/';
        if plain { text.push(char::from(*byte)) } else { text.push_str(&format!("%{byte:02x}")) }
    }
    text
}

/// The word that [`encode_word`] was given; `None` for anything else.
pub fn decode_word(text: &str) -> Option<Vec<u8>> {
    if text == "%" {
        return Some(Vec::new());
    }
    let mut word = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            word.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
        word.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_out_as_they_went_in_and_mean_nothing_to_a_shell() {
        for (word, expected) in [
            ("id", "id"),
            ("-u", "%2du"),
            ("", "%"),
            ("echo '$HOME' | wc; !x", "echo%20%27%24HOME%27%20%7c%20wc%3b%20%21x"),
            ("/usr/bin/python3.11", "/usr/bin/python3.11"),
            ("100%", "100%25"),
            ("é", "%c3%a9"),
        ] {
            let text = encode_word(word.as_bytes());
            assert_eq!(text, expected);
            assert_eq!(decode_word(&text).as_deref(), Some(word.as_bytes()));
        }
        for bad in ["a%", "%2", "%zz"] {
            assert_eq!(decode_word(bad), None, "{bad}");
        }
    }
}
