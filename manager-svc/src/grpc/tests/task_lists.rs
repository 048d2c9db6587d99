//! Lists of tasks: filters and pages.

use std::collections::BTreeMap;

use davit_core::state::TaskState;
use davit_proto::v1;
use davit_proto::v1::task_service_server::TaskService as _;
use tonic::{Code, Request, Status};

use super::{Rig, fields, in_turns, reason, refused, spec};

async fn list(rig: &Rig, filter: v1::TaskFilter) -> Result<Vec<String>, Status> {
    let request = v1::ListTasksRequest { filter: Some(filter), ..Default::default() };
    let answer = rig.tasks.list_tasks(Request::new(request)).await?.into_inner();
    Ok(answer.tasks.into_iter().map(|task| task.spec.unwrap_or_default().name).collect())
}

#[tokio::test]
async fn every_field_of_the_filter_counts() {
    let rig = Rig::new().await;
    let (node_id, _session) = rig.join("one").await;
    rig.join("two").await;
    let labels = BTreeMap::from([("app".to_owned(), "shop".to_owned())]);
    let web = rig.create(v1::TaskSpec { labels: labels.clone(), ..spec("web") }).await.task_id;
    rig.create(spec("db")).await;
    rig.run_on(&web, node_id, &[TaskState::Preparing, TaskState::Running]).await;

    let any = v1::TaskFilter::default;
    assert_eq!(list(&rig, any()).await.unwrap(), ["web", "db"]);
    let states = vec![v1::TaskState::Running.into(), v1::TaskState::Failed.into()];
    assert_eq!(list(&rig, v1::TaskFilter { states, ..any() }).await.unwrap(), ["web"]);
    for node in ["one".to_owned(), node_id.to_string()] {
        assert_eq!(list(&rig, v1::TaskFilter { node, ..any() }).await.unwrap(), ["web"]);
    }
    assert!(list(&rig, v1::TaskFilter { node: "two".into(), ..any() }).await.unwrap().is_empty());
    assert_eq!(list(&rig, v1::TaskFilter { labels: labels.clone(), ..any() }).await.unwrap(), ["web"]);
    assert_eq!(list(&rig, v1::TaskFilter { name: "db".into(), ..any() }).await.unwrap(), ["db"]);
    assert!(list(&rig, v1::TaskFilter { name: "db".into(), labels, ..any() }).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_beginning_or_the_end_of_an_id_selects_its_task() {
    let rig = Rig::new().await;
    let id = rig.create(spec("web")).await.task_id;
    rig.create(spec("db")).await;
    let of_part =
        async |id_part: &str| list(&rig, v1::TaskFilter { id_part: id_part.into(), ..Default::default() }).await;
    assert_eq!(of_part(&id).await.unwrap(), ["web"]);
    assert_eq!(of_part(&id.to_uppercase()).await.unwrap(), ["web"]);
    // The first digits are the time: those of one hour share them.
    assert_eq!(of_part(&id[..6]).await.unwrap(), ["web", "db"]);
    assert_eq!(of_part(&id[24..]).await.unwrap(), ["web"]);
    assert!(of_part(&id[1..23]).await.unwrap().is_empty());
    for wrong in ["web", &format!("{id}0")] {
        assert_eq!(fields(&of_part(wrong).await.unwrap_err()), ["filter.id_part"]);
    }
}

#[tokio::test]
async fn an_unknown_node_in_the_filter_is_not_hidden_by_an_empty_list() {
    let rig = Rig::new().await;
    let status = list(&rig, v1::TaskFilter { node: "nowhere".into(), ..Default::default() }).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "NODE_NOT_FOUND"));
}

#[tokio::test]
async fn everything_wrong_with_a_list_is_named() {
    let rig = Rig::new().await;
    let filter = v1::TaskFilter { states: vec![1, 99], name: "no good".into(), ..Default::default() };
    let request = v1::ListTasksRequest { filter: Some(filter), page_size: 1_001, page_token: "zz".into() };
    let status = refused(rig.tasks.list_tasks(Request::new(request)).await);
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(fields(&status), ["page_size", "page_token", "filter.states[1]", "filter.name"]);
}

#[tokio::test]
async fn pages_miss_nothing_and_repeat_nothing_while_tasks_come_and_go() {
    let rig = Rig::new().await;
    let mut ids = Vec::new();
    for number in 0..25 {
        ids.push(rig.create(spec(&format!("t{number}"))).await.task_id);
    }
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    for round in 0.. {
        let request = v1::ListTasksRequest { page_size: 10, page_token, ..Default::default() };
        let answer = rig.tasks.list_tasks(Request::new(request)).await.unwrap().into_inner();
        seen.extend(answer.tasks.into_iter().map(|task| task.task_id));
        page_token = answer.next_page_token;
        if round == 0 {
            // One that was seen goes, also the last one of the page; a new one comes.
            for gone in [&ids[3], &ids[9]] {
                let request = v1::DeleteTaskRequest { task_id: gone.clone(), force: true };
                rig.tasks.delete_task(Request::new(request)).await.unwrap();
            }
            ids.push(rig.create(spec("late")).await.task_id);
        }
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, ids);
}

#[tokio::test]
async fn a_list_of_a_nodes_tasks_looks_at_those_and_shows_what_a_look_at_all_shows() {
    let rig = Rig::new().await;
    let (one, _session) = rig.join("one").await;
    let (two, _session) = rig.join("two").await;
    let mut on_one = Vec::new();
    for number in 0..30_usize {
        let task_id = rig.create(spec(&format!("t{number}"))).await.task_id;
        let ends = [&[][..], &[TaskState::Running], &[TaskState::Running, TaskState::Completed]];
        match number % 5 {
            0 => rig.run_on(&task_id, one, ends[number % 3]).await,
            1 => rig.run_on(&task_id, two, ends[number % 3]).await,
            _ => continue,
        }
        if number % 5 == 0 {
            on_one.push(task_id);
        }
    }
    let before = rig.api.writer.state().visited().tasks;
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let filter = Some(v1::TaskFilter { node: "one".into(), ..Default::default() });
        let request = v1::ListTasksRequest { filter, page_size: 2, page_token };
        let answer = rig.tasks.list_tasks(Request::new(request)).await.unwrap().into_inner();
        seen.extend(answer.tasks.into_iter().map(|task| task.task_id));
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!((seen.len(), &seen), (6, &on_one));
    // Each, and the first one of each page for the page before too.
    assert_eq!(rig.api.writer.state().visited().tasks - before, 6 + 2);
}

#[tokio::test]
async fn a_page_token_belongs_to_its_filter() {
    let rig = Rig::new().await;
    rig.create(spec("a")).await;
    rig.create(spec("a")).await;
    let request = v1::ListTasksRequest { page_size: 1, ..Default::default() };
    let token = rig.tasks.list_tasks(Request::new(request)).await.unwrap().into_inner().next_page_token;
    let filter = Some(v1::TaskFilter { name: "a".into(), ..Default::default() });
    let cut = token[..token.len() - 2].to_owned();
    for (filter, page_token) in [(filter, token), (None, cut)] {
        let request = v1::ListTasksRequest { filter, page_size: 1, page_token };
        assert_eq!(fields(&refused(rig.tasks.list_tasks(Request::new(request)).await)), ["page_token"]);
    }
}

#[tokio::test]
async fn a_list_that_finds_nothing_among_many_lets_others_go_on() {
    let rig = Rig::new().await;
    let group = v1::TaskGroup { spec: Some(spec("web")), count: Some(10_000), ..Default::default() };
    let request = v1::BatchCreateTasksRequest { groups: vec![group], ..Default::default() };
    rig.tasks.batch_create_tasks(Request::new(request)).await.unwrap();

    let filter = v1::TaskFilter { name: "db".into(), ..Default::default() };
    let (found, turns) = in_turns(list(&rig, filter)).await;
    assert!(found.unwrap().is_empty());
    assert!(turns > 4, "{turns}");
}
