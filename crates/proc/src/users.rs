//! Names of users, from `/etc/passwd` alone.
//!
//! The program is static, so the C library's name services, which load modules, are not asked: a
//! user that only a directory server knows is shown by number.

use std::collections::BTreeMap;
use std::io;

use crate::bounded;

/// The users of this machine by uid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users(BTreeMap<u32, String>);

impl Users {
    /// Reads `/etc/passwd`.
    pub fn of_this_machine() -> io::Result<Self> {
        const PASSWD_AT_MOST: u64 = 8 << 20;
        Ok(Self::parse(&bounded::read("/etc/passwd", PASSWD_AT_MOST)?))
    }

    /// Parses lines of passwd(5); of a uid with several names the first counts.
    pub fn parse(text: &[u8]) -> Self {
        let mut users = BTreeMap::new();
        for line in text.split(|byte| *byte == b'\n') {
            let mut fields = line.split(|byte| *byte == b':');
            let (Some(name), Some(uid)) = (fields.next(), fields.nth(1)) else { continue };
            let uid = std::str::from_utf8(uid).ok().and_then(|uid| uid.parse().ok());
            if let (Some(uid), Ok(name)) = (uid, std::str::from_utf8(name))
                && !name.is_empty()
            {
                users.entry(uid).or_insert_with(|| name.to_owned());
            }
        }
        Self(users)
    }

    pub fn name(&self, uid: u32) -> Option<&str> {
        self.0.get(&uid).map(String::as_str)
    }

    /// The name, or the number where there is none.
    pub fn shown(&self, uid: u32) -> String {
        self.name(uid).map_or_else(|| uid.to_string(), str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_found_and_the_first_counts() {
        let users = Users::parse(
            b"root:x:0:0:root:/root:/bin/bash\n# comment\ntoor:x:0:0::/:/bin/sh\n\n\
              www:x:33:33::/:\nbad:x:minus:1::/:\n:x:5:5::/:\n\xff:x:6:6::/:\n",
        );
        assert_eq!((users.name(0), users.name(33)), (Some("root"), Some("www")));
        assert_eq!((users.name(5), users.name(6)), (None, None));
        assert_eq!(
            (users.shown(33), users.shown(4_000_000_000)),
            ("www".into(), "4000000000".into())
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_panic(bytes: Vec<u8>) {
            Users::parse(&bytes);
        }
    }
}
