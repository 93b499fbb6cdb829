//! The description of a Parquet file, walked before the crate that reads Parquet sees it.
//!
//! The crate believes the lengths of lists that a description states. It takes memory for as many members, and where
//! there is none, the process ends; of members without bytes it passes two thousand million, one by one. So a list has
//! no more members here than its bytes can hold. What a field holds has to be what Parquet says it does, as the crate
//! does not look: the walk sees the same lists as the crate.

use self::Kind::{Byte, Bytes, Double, Flag, List, Number, Struct};

/// What a field holds.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Flag,
    Byte,
    /// An integer of variable length, as those of an enumeration are.
    Number,
    Double,
    Bytes,
    List(&'static Kind),
    Struct(Fields),
}

/// The fields of a structure that Parquet knows, by their id.
type Fields = &'static [(i16, Kind)];

/// The structures of <https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift>.
const FILE: Fields = &[
    (1, Number),
    (2, List(&Struct(COLUMN))),
    (3, Number),
    (4, List(&Struct(ROW_GROUP))),
    (5, List(&Struct(PAIR))),
    (6, Bytes),
    (7, List(&Struct(ORDER))),
    (8, Struct(&[])),
    (9, Bytes),
];
const COLUMN: Fields = &[
    (1, Number),
    (2, Number),
    (3, Number),
    (4, Bytes),
    (5, Number),
    (6, Number),
    (7, Number),
    (8, Number),
    (9, Number),
    (10, Struct(TYPE)),
];
const TYPE: Fields = &[
    (1, Struct(&[])),
    (2, Struct(&[])),
    (3, Struct(&[])),
    (4, Struct(&[])),
    (5, Struct(&[(1, Number), (2, Number)])),
    (6, Struct(&[])),
    (7, Struct(TIME)),
    (8, Struct(TIME)),
    (10, Struct(&[(1, Byte), (2, Flag)])),
    (11, Struct(&[])),
    (12, Struct(&[])),
    (13, Struct(&[])),
    (14, Struct(&[])),
    (15, Struct(&[])),
    (16, Struct(&[(1, Byte)])),
    (17, Struct(&[(1, Bytes)])),
    (18, Struct(&[(1, Bytes), (2, Number)])),
];
const TIME: Fields =
    &[(1, Flag), (2, Struct(&[(1, Struct(&[])), (2, Struct(&[])), (3, Struct(&[]))]))];
const ORDER: Fields = &[(1, Struct(&[]))];
const PAIR: Fields = &[(1, Bytes), (2, Bytes)];
const ROW_GROUP: Fields = &[
    (1, List(&Struct(CHUNK))),
    (2, Number),
    (3, Number),
    (4, List(&Struct(&[(1, Number), (2, Flag), (3, Flag)]))),
    (5, Number),
    (6, Number),
    (7, Number),
];
const CHUNK: Fields = &[
    (1, Bytes),
    (2, Number),
    (3, Struct(VALUES)),
    (4, Number),
    (5, Number),
    (6, Number),
    (7, Number),
    (8, Struct(&[])),
    (9, Bytes),
];
const VALUES: Fields = &[
    (1, Number),
    (2, List(&Number)),
    (3, List(&Bytes)),
    (4, Number),
    (5, Number),
    (6, Number),
    (7, Number),
    (8, List(&Struct(PAIR))),
    (9, Number),
    (10, Number),
    (11, Number),
    (12, Struct(STATISTICS)),
    (13, List(&Struct(&[(1, Number), (2, Number), (3, Number)]))),
    (14, Number),
    (15, Number),
    (16, Struct(&[(1, Number), (2, List(&Number)), (3, List(&Number))])),
    (17, Struct(&[(1, Struct(BOX)), (2, List(&Number))])),
];
const STATISTICS: Fields = &[
    (1, Bytes),
    (2, Bytes),
    (3, Number),
    (4, Number),
    (5, Bytes),
    (6, Bytes),
    (7, Flag),
    (8, Flag),
];
const BOX: Fields = &[
    (1, Double),
    (2, Double),
    (3, Double),
    (4, Double),
    (5, Double),
    (6, Double),
    (7, Double),
    (8, Double),
];

/// Structures within each other. Those of Parquet are ten at most.
const DEPTH: usize = 32;

/// Bytes of the smallest structure that is a member of a list: a field, its value and the end.
const SMALLEST: usize = 3;

/// What is wrong with a description, if anything is.
pub(super) fn check(description: &[u8]) -> Result<(), &'static str> {
    Walk { rest: description }.structure(FILE, DEPTH)
}

const CUT: &str = "its description ends too early";
const LISTS: &str = "its description has lists that are longer than their bytes";
const OTHER: &str = "its description has fields of another type than Parquet's";

struct Walk<'a> {
    rest: &'a [u8],
}

impl Walk<'_> {
    fn byte(&mut self) -> Result<u8, &'static str> {
        let (byte, rest) = self.rest.split_first().ok_or(CUT)?;
        self.rest = rest;
        Ok(*byte)
    }

    /// An integer of variable length. The crate reads one of more than 64 bits in a way of its own.
    fn number(&mut self) -> Result<u64, &'static str> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err("its description has a number of more than 64 bits")
    }

    fn pass(&mut self, length: u64) -> Result<(), &'static str> {
        let length = usize::try_from(length).map_err(|_| CUT)?;
        self.rest = self.rest.get(length..).ok_or(CUT)?;
        Ok(())
    }

    fn structure(&mut self, fields: Fields, depth: usize) -> Result<(), &'static str> {
        let (depth, mut last) = (depth.checked_sub(1).ok_or(OTHER)?, 0_i16);
        loop {
            let header = self.byte()?;
            let (step, wire) = (i16::from(header >> 4), header & 0x0F);
            if wire == 0 {
                return Ok(());
            }
            let id = match step {
                // Zigzag: the sign is in the last bit.
                0 => self.number().map(|n| ((n >> 1) as i16) ^ -((n & 1) as i16))?,
                _ => last.checked_add(step).ok_or(OTHER)?,
            };
            let known = fields.iter().find(|(known, _)| *known == id).map(|(_, kind)| *kind);
            if !matches!(wire, 1 | 2) {
                self.value(wire, known, depth)?;
            } else if !matches!(known, None | Some(Flag)) {
                return Err(OTHER);
            }
            last = id;
        }
    }

    /// A value of a type as it is written, and of a kind, if that is known.
    fn value(&mut self, wire: u8, known: Option<Kind>, depth: usize) -> Result<(), &'static str> {
        match (wire, known) {
            (3, None | Some(Byte)) => self.pass(1),
            (4..=6, None | Some(Number)) => self.number().map(drop),
            (7, None | Some(Double)) => self.pass(8),
            (8, None | Some(Bytes)) => self.number().and_then(|length| self.pass(length)),
            (9, None) => self.list(None, depth),
            (9, Some(List(member))) => self.list(Some(*member), depth),
            (12, None) => self.structure(&[], depth),
            (12, Some(Struct(fields))) => self.structure(fields, depth),
            _ => Err(OTHER),
        }
    }

    fn list(&mut self, member: Option<Kind>, depth: usize) -> Result<(), &'static str> {
        let (depth, header) = (depth.checked_sub(1).ok_or(OTHER)?, self.byte()?);
        let (short, wire) = (u64::from(header >> 4), header & 0x0F);
        let count = if short == 15 { self.number()? } else { short };
        let smallest = if wire == 12 && member.is_some() { SMALLEST } else { 1 };
        if count > (self.rest.len() / smallest) as u64 {
            return Err(LISTS);
        }
        // The crate takes no bytes for members of booleans, as a list of Parquet's descriptions never has.
        if count > 0 && matches!(wire, 1 | 2) {
            return Err(OTHER);
        }
        (0..count).try_for_each(|_| self.value(wire, member, depth))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A version, and a field of the id and type of the header.
    fn with(field: &[u8]) -> Vec<u8> {
        [b"\x15\x02", field, b"\0"].concat()
    }

    #[test]
    fn a_list_has_no_more_members_than_its_bytes_can_hold() {
        let many = b"\xFF\xFF\xFF\xFF\x07";
        for (list, why) in [
            (&b"\x19\xFC"[..], LISTS),
            (b"\x39\xFC", LISTS),
            // Within a field that Parquet does not know: of booleans, and of lists.
            (b"\xA9\xF1", LISTS),
            (b"\xA9\xF9", LISTS),
        ] {
            assert_eq!(check(&with(&[list, many].concat())), Err(why), "{list:?}");
        }
        assert_eq!(check(&with(b"\xA9\x21\x01\x01")), Err(OTHER), "booleans");
        assert_eq!(check(&with(b"\x19\x2C\0\0")), Err(LISTS), "members without a field");
        assert_eq!(check(&with(b"\xA9\x35\x01\x02\x03")), Ok(()));
        assert_eq!(check(&with(b"\xA9\x00")), Ok(()), "an empty list of no type, as some write it");
    }

    #[test]
    fn a_field_is_of_the_type_that_the_crate_takes_it_for() {
        // The list of columns as a byte, behind which the crate would find a list of its own.
        assert_eq!(check(&with(b"\x13\x01")), Err(OTHER));
        assert_eq!(check(&with(b"\x11")), Err(OTHER));
        // The same id, written as a whole, and in more bits than it has.
        assert_eq!(check(&with(b"\x03\x04\x01")), Err(OTHER));
        let long = b"\x03\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01\x01";
        assert!(check(&with(long)).unwrap_err().contains("64 bits"));
        assert_eq!(check(&with(b"\xA3\x01")), Ok(()), "an id that Parquet does not know");
    }

    #[test]
    fn a_description_that_is_cut_or_deep_is_refused() {
        assert_eq!(check(b"\x15\x02"), Err(CUT));
        assert_eq!(check(&with(b"\x58\x7Fa")), Err(CUT));
        assert_eq!(check(&with(b"\xAC")), Err(CUT));
        assert_eq!(check(&with(&[&b"\xAC"[..], &[0x1C; 100]].concat())), Err(OTHER));
    }
}
