//! The SQL that queries and gold tables are written in.

use std::any::TypeId;

use datafusion::sql::sqlparser::ast::Statement;
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::SqlError;

/// Statements, in their order. `what` is the subject of errors.
pub(super) fn parse(what: &str, sql: &str) -> Result<Vec<Statement>, SqlError> {
    let dialect = LakeDialect(GenericDialect {});
    let parsed = Tokenizer::new(&dialect, sql).tokenize_with_location().map_err(Into::into);
    let parsed = parsed.and_then(|mut tokens| {
        unquote_versions(&mut tokens);
        Parser::new(&dialect).with_tokens_with_locations(tokens).parse_statements()
    });
    parsed.map_err(|e: ParserError| SqlError::of(what, e.into()))
}

/// The id of a snapshot may be quoted, as JSON has it: the parser takes a number there.
fn unquote_versions(tokens: &mut [TokenWithSpan]) {
    let mut before = [Keyword::NoKeyword; 3];
    for TokenWithSpan { token, .. } in tokens {
        let quoted = match token {
            Token::Whitespace(_) => continue,
            Token::SingleQuotedString(text) => Some(&*text),
            Token::Word(word) if word.quote_style.is_some() => Some(&word.value),
            _ => None,
        };
        let is_id = |text: &&String| text.parse::<i64>().is_ok();
        if before == [Keyword::VERSION, Keyword::AS, Keyword::OF]
            && let Some(id) = quoted.filter(is_id).cloned()
        {
            *token = Token::Number(id, false);
        }
        let keyword = match token {
            Token::Word(word) => word.keyword,
            _ => Keyword::NoKeyword,
        };
        before = [before[1], before[2], keyword];
    }
}

/// The generic dialect, with `VERSION AS OF` and `TIMESTAMP AS OF`.
#[derive(Debug)]
struct LakeDialect(GenericDialect);

/// What the generic dialect says of itself.
macro_rules! as_generic {
    ($($what:ident),* $(,)?) => {
        $(fn $what(&self) -> bool {
            self.0.$what()
        })*
    };
}

impl Dialect for LakeDialect {
    fn dialect(&self) -> TypeId {
        self.0.dialect()
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        self.0.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        self.0.is_identifier_part(ch)
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        self.0.is_delimited_identifier_start(ch)
    }

    fn supports_table_versioning(&self) -> bool {
        true
    }

    as_generic! {
        supports_unicode_string_literal,
        supports_group_by_expr,
        supports_group_by_with_modifier,
        supports_left_associative_joins_without_parens,
        supports_pipe_operator,
        supports_window_function_null_treatment_arg,
        supports_dictionary_syntax,
        supports_window_clause_named_window_reference,
        supports_select_wildcard_except,
        supports_extract_comma_syntax,
        supports_parens_around_table_factor,
        supports_values_as_table_factor,
        supports_explain_with_utility_options,
        supports_limit_comma,
        supports_from_first_select,
        supports_projection_trailing_commas,
        supports_try_convert,
        supports_bitwise_shift_operators,
        supports_named_fn_args_with_assignment_operator,
        supports_struct_literal,
        supports_nested_comments,
        supports_string_escape_constant,
        supports_array_typedef_with_brackets,
        supports_filter_during_aggregation,
        supports_select_wildcard_exclude,
        supports_interval_options,
        supports_lambda_functions,
        supports_select_wildcard_replace,
        supports_select_wildcard_ilike,
        supports_select_wildcard_rename,
    }
}
