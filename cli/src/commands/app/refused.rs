//! Why an app is refused, all of it: a manager's answer holds only so many problems.

use std::collections::BTreeSet;

use davit_compose::{Input, examine};
use davit_svc_kit::grpc::VIOLATIONS_LEFT_OUT;
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::error::Error;

/// A manager's refusal with what did not fit into its answer, as far as reading the files here tells it too.
pub(super) fn told_whole(error: Error, input: &Input) -> Error {
    match error.status().and_then(|status| whole(status, input)) {
        Some(message) => Error::failed(message),
        None => error,
    }
}

/// `None` if the answer says all there is to say.
fn whole(status: &Status, input: &Input) -> Option<String> {
    let info = status.get_details_error_info()?;
    let left_out: usize = info.metadata.get(VIOLATIONS_LEFT_OUT)?.parse().ok()?;
    let listed = status.get_details_bad_request()?.field_violations;
    // The one that says how many are left out has no field.
    let listed: Vec<_> = listed.into_iter().filter(|violation| !violation.field.is_empty()).collect();
    let total = listed.len().saturating_add(left_out);
    let read_here: Vec<String> = examine(input).problems.iter().map(ToString::to_string).collect();
    let known: BTreeSet<&str> = read_here.iter().map(String::as_str).collect();
    let news = listed.iter().map(|violation| violation.description.as_str()).filter(|text| !known.contains(text));
    let lines: Vec<&str> = news.chain(read_here.iter().map(String::as_str)).collect();
    let mut message = "the manager refused the request:".to_owned();
    lines.iter().for_each(|line| message.push_str(&format!("\n  {line}")));
    let more = total.saturating_sub(lines.len());
    if more > 0 {
        message.push_str(&format!("\n  and {more} more"));
    }
    Some(message)
}

#[cfg(test)]
mod tests {
    use davit_compose::SourceFile;
    use davit_core::validate::Violations;
    use davit_svc_kit::grpc::ApiError;

    use super::*;

    fn input(keys: usize) -> Input {
        let keys: String = (0..keys).map(|index| format!("    unknown{index}: 1\n")).collect();
        let text = format!("services:\n  web:\n    image: x\n{keys}");
        let files = vec![SourceFile { name: "compose.yaml".to_owned(), text }];
        Input { files, project_name: Some("shop".to_owned()), ..Input::default() }
    }

    fn refused(input: &Input, of_the_cluster: &str) -> Error {
        let mut violations = Violations::new();
        violations.add("source.files[0]", of_the_cluster);
        examine(input).problems.iter().for_each(|problem| violations.add("source.files[0]", problem.to_string()));
        Error::Refused { status: Box::new(ApiError::invalid(violations).into()) }
    }

    #[test]
    fn what_does_not_fit_into_an_answer_is_told_all_the_same() {
        let input = input(150);
        let text = told_whole(refused(&input, "there is no config a"), &input).to_string();
        assert_eq!(text.matches("unknown key").count(), 150, "{text}");
        assert_eq!(text.matches("there is no config a").count(), 1, "{text}");
        assert_eq!(text.lines().count(), 1 + 150 + 1, "{text}");
    }

    #[test]
    fn an_answer_that_says_all_stays_as_it_is() {
        let input = input(2);
        let error = refused(&input, "there is no config a");
        let text = error.to_string();
        assert_eq!(told_whole(error, &input).to_string(), text);
    }
}
