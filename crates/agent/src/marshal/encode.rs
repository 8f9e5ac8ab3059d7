//! Values to bytes, as `marshal.dumps(value, 2)` writes them.

use super::Value;

pub(super) fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::None => out.push(b'N'),
        Value::Bool(true) => out.push(b'T'),
        Value::Bool(false) => out.push(b'F'),
        Value::Int(number) => write_int(*number, out),
        Value::BigInt(big) => write_digits(big.negative, &big.digits, out),
        Value::Float(number) => {
            out.push(b'g');
            out.extend(number.to_le_bytes());
        }
        Value::Str(text) => write_sized(b'u', text.as_bytes(), out),
        Value::Bytes(bytes) => write_sized(b's', bytes, out),
        Value::List(items) => write_items(b'[', items, out),
        Value::Tuple(items) => write_items(b'(', items, out),
        Value::Dict(items) => {
            out.push(b'{');
            for (name, value) in items {
                write(name, out);
                write(value, out);
            }
            out.push(b'0');
        }
    }
}

fn write_int(number: i64, out: &mut Vec<u8>) {
    if let Ok(small) = i32::try_from(number) {
        out.push(b'i');
        out.extend(small.to_le_bytes());
        return;
    }
    let mut rest = number.unsigned_abs();
    let mut digits = Vec::new();
    while rest > 0 {
        digits.push((rest & 0x7fff) as u16);
        rest >>= 15;
    }
    write_digits(number < 0, &digits, out);
}

fn write_digits(negative: bool, digits: &[u16], out: &mut Vec<u8>) {
    let count = length(digits.len()) as i32;
    out.push(b'l');
    out.extend((if negative { -count } else { count }).to_le_bytes());
    out.extend(digits.iter().flat_map(|digit| digit.to_le_bytes()));
}

fn write_sized(code: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(code);
    out.extend(length(bytes.len()).to_le_bytes());
    out.extend(bytes);
}

fn write_items(code: u8, items: &[Value], out: &mut Vec<u8>) {
    out.push(code);
    out.extend(length(items.len()).to_le_bytes());
    for item in items {
        write(item, out);
    }
}

/// What we send was decoded from, or is bounded by, a frame of 64 MiB.
fn length(count: usize) -> u32 {
    debug_assert!(count < 1 << 31);
    count as u32
}
