//! Values of a message, from a seed: defaults, both ends of every range, then whatever comes.

use base64::{Engine, engine::general_purpose::STANDARD};
use fastrand::Rng;
use ottla_protocol::types::Uuid;
use serde_json::{Map, Value, json};
use xtask::codegen::schema::{Field, Type};

use crate::model::{Model, camel_case};

/// Longest string that the classic encoding can hold, in bytes.
const STRING_BYTES_MAX: usize = i16::MAX as usize;
/// A length whose varint has two bytes, for arrays of plain values.
const LONG_ARRAY: usize = 130;

#[derive(Clone, Copy, Eq, PartialEq)]
enum Manner {
    Defaults,
    /// The smallest numbers, null where it may be.
    Least,
    /// The greatest numbers, nothing null, one element in each array.
    Most,
    Random,
}

/// The `index`-th value of `model`, in Kafka's JSON; tagged fields at their defaults are left out, as Kafka does.
pub(crate) fn value(model: &Model<'_>, index: usize, seed: u64) -> Value {
    let manner = match index {
        0 => Manner::Defaults,
        1 => Manner::Least,
        2 => Manner::Most,
        _ => Manner::Random,
    };
    Maker { model, manner, rng: Rng::with_seed(seed) }.structure(model.fields(), 0)
}

struct Maker<'a> {
    model: &'a Model<'a>,
    manner: Manner,
    rng: Rng,
}

impl Maker<'_> {
    fn structure(&mut self, fields: &[Field], depth: usize) -> Value {
        let mut object = Map::new();
        for field in fields.iter().filter(|f| self.model.has(f)) {
            let value = self.field(field, depth);
            if field.tag.is_none() || !self.model.is_default(field, &value) {
                object.insert(camel_case(&field.name), value);
            }
        }
        Value::Object(object)
    }

    fn field(&mut self, field: &Field, depth: usize) -> Value {
        let may_be_null = self.model.may_be_null(field);
        let at_default = match self.manner {
            Manner::Defaults => true,
            Manner::Random => self.rng.u8(..8) == 0,
            _ => false,
        };
        if at_default && !matches!(field.ty, Type::Struct(_)) {
            let default = self.model.default(field);
            if !default.is_null() || may_be_null {
                return default;
            }
        }
        let null = match self.manner {
            Manner::Defaults => self.model.default(field).is_null(),
            Manner::Least => true,
            Manner::Most => false,
            Manner::Random => self.rng.u8(..6) == 0,
        };
        if null && may_be_null { Value::Null } else { self.value(&field.ty, depth) }
    }

    fn value(&mut self, ty: &Type, depth: usize) -> Value {
        match ty {
            Type::Bool => json!(self.pick(&[false, false, true], &[true, false])),
            Type::I8 => self.integer(i8::MIN.into(), i8::MAX.into()),
            Type::I16 => self.integer(i16::MIN.into(), i16::MAX.into()),
            Type::U16 => self.integer(0, u16::MAX.into()),
            Type::I32 => self.integer(i32::MIN.into(), i32::MAX.into()),
            Type::U32 => self.integer(0, u32::MAX.into()),
            Type::I64 => self.integer(i64::MIN, i64::MAX),
            Type::F64 => {
                let ends = [0.0, f64::MIN, f64::MAX];
                json!(self.pick(&ends, &[-0.0, 1.5, -1e-300, f64::MIN_POSITIVE, f64::EPSILON, 0.1 + 0.2]))
            }
            Type::Uuid => {
                let random = self.rng.u128(..);
                json!(Uuid(self.pick(&[0, 1, u128::MAX], &[random, random, 1 << 64])).to_string())
            }
            Type::Str => self.string(),
            Type::Bytes | Type::Records => {
                let len = self.len(&[0, 0, 127]);
                let bytes: Vec<u8> = (0..len).map(|_| self.rng.u8(..)).collect();
                json!(STANDARD.encode(bytes))
            }
            Type::Entity("ErrorCode", _) if self.manner == Manner::Random => json!(self.rng.i16(-1..140)),
            Type::Entity(_, wire) => self.value(wire, depth),
            Type::Struct(name) => self.structure(self.model.fields_of(name), depth + 1),
            Type::Array(element) => self.array(element, depth),
        }
    }

    /// One of three for the manners other than random; for that, also one of `more`.
    fn pick<T: Copy>(&mut self, [default, least, most]: &[T; 3], more: &[T]) -> T {
        match self.manner {
            Manner::Defaults => *default,
            Manner::Least => *least,
            Manner::Most => *most,
            Manner::Random => match self.rng.usize(..more.len() + 3) {
                0 => *default,
                1 => *least,
                2 => *most,
                n => more[n - 3],
            },
        }
    }

    fn integer(&mut self, least: i64, most: i64) -> Value {
        let (any, small) = (self.rng.i64(least..=most), self.rng.i64(0.max(least)..=100));
        json!(self.pick(&[0, least, most], &[any, any, small, small, 1, most - 1, least.max(-1)]))
    }

    fn string(&mut self) -> Value {
        let words = [
            "a",
            "orders-7",
            "žluťoučký kůň",
            "日本語 😀",
            "\0\u{1}\u{7f}",
            "\"q\"\\/\r\n\t",
            "\u{2028}\u{feff}",
        ];
        let word = *self.rng.choice(&words).expect("there are words");
        match self.manner {
            Manner::Defaults | Manner::Least => json!(""),
            Manner::Most => json!("é".repeat(200)),
            Manner::Random => match self.rng.u16(..400) {
                0 => json!("x".repeat(STRING_BYTES_MAX)),
                1 => json!("日".repeat(STRING_BYTES_MAX / 3)),
                2..60 => json!(""),
                60..90 => json!("x".repeat(self.rng.usize(120..136))),
                _ => json!(word),
            },
        }
    }

    fn array(&mut self, element: &Type, depth: usize) -> Value {
        let plain = element.struct_name().is_none();
        let len = match self.manner {
            Manner::Defaults | Manner::Least => 0,
            Manner::Most => 1,
            Manner::Random if plain && self.rng.u8(..40) == 0 => LONG_ARRAY,
            Manner::Random if depth < 2 => self.rng.usize(..4),
            Manner::Random => self.rng.usize(..3),
        };
        (0..len).map(|_| self.value(element, depth)).collect()
    }

    /// A length in bytes.
    fn len(&mut self, manners: &[usize; 3]) -> usize {
        let some = self.rng.usize(1..40);
        self.pick(manners, &[some, some, some, 126, 128, 300])
    }
}
