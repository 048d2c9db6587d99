//! Jobs through the service.

use davit_proto::v1;
use davit_proto::v1::job_service_server::JobService as _;
use tonic::{Code, Request};

use super::{Rig, fields, reason, refused, spec};
use crate::grpc::JobApi;

fn service(rig: &Rig) -> JobApi {
    JobApi::new(rig.api.clone())
}

fn nightly(name: &str) -> v1::JobSpec {
    let schedule = v1::JobSchedule { cron: "0 3 * * *".to_owned(), ..Default::default() };
    v1::JobSpec { name: name.to_owned(), task: Some(spec("")), schedule: Some(schedule), ..Default::default() }
}

async fn create(rig: &Rig, spec: v1::JobSpec, request_id: &str) -> Result<v1::Job, tonic::Status> {
    let request = v1::CreateJobRequest { spec: Some(spec), request_id: request_id.to_owned(), validate_only: false };
    service(rig).create_job(Request::new(request)).await.map(|answer| answer.into_inner().job.unwrap())
}

#[tokio::test]
async fn a_job_is_created_once_and_read_and_changed_as_it_was_seen() {
    let rig = Rig::new().await;
    let created = create(&rig, nightly("report"), "one").await.unwrap();
    assert!(created.runs.is_empty() && created.next_run_time.is_some());
    let wanted = created.spec.clone().unwrap();
    assert_eq!((wanted.completions, wanted.max_retries), (Some(1), Some(3)));
    let task = wanted.task.as_ref().unwrap();
    assert_eq!(
        (task.name.as_str(), task.restart_policy.as_ref().unwrap().mode()),
        ("report", v1::RestartMode::OnFailure)
    );
    let again = create(&rig, nightly("report"), "one").await.unwrap();
    assert_eq!(again.job_id, created.job_id);
    let taken = create(&rig, nightly("report"), "two").await.unwrap_err();
    assert_eq!((taken.code(), reason(&taken).as_str()), (Code::AlreadyExists, "JOB_EXISTS"));

    // What was read can be sent back, and changes nothing.
    let update = |spec: v1::JobSpec, etag: &str| {
        let request = v1::UpdateJobRequest {
            job: "report".to_owned(),
            spec: Some(spec),
            etag: etag.to_owned(),
            ..Default::default()
        };
        let service = service(&rig);
        async move { service.update_job(Request::new(request)).await.map(|answer| answer.into_inner().job.unwrap()) }
    };
    assert_eq!(update(wanted.clone(), &created.etag).await.unwrap().revision, created.revision);
    let more = v1::JobSpec { completions: Some(5), parallelism: None, ..wanted };
    let changed = update(more.clone(), &created.etag).await.unwrap();
    assert_ne!(changed.etag, created.etag);
    let late = update(more, &created.etag).await.unwrap_err();
    assert_eq!((late.code(), reason(&late).as_str()), (Code::Aborted, "JOB_HAS_CHANGED"));
}

#[tokio::test]
async fn all_that_is_wrong_is_told_with_its_field_and_nothing_is_created() {
    let rig = Rig::new().await;
    let always = v1::RestartPolicy { mode: v1::RestartMode::Always.into(), max_attempts: 9, ..Default::default() };
    let schedule = v1::JobSchedule { cron: "every day".to_owned(), overlap: 17, ..Default::default() };
    let bad = v1::JobSpec {
        name: "re port".to_owned(),
        task: Some(v1::TaskSpec { restart_policy: Some(always), ..spec("") }),
        completions: Some(3),
        parallelism: Some(0),
        arguments: vec![v1::IndexArguments::default()],
        deadline: Some(prost_types::Duration { seconds: 0, nanos: 0 }),
        schedule: Some(schedule),
        ..Default::default()
    };
    let status = create(&rig, bad, "").await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let mut told = fields(&status);
    told.sort_unstable();
    let expected = [
        "spec.arguments",
        "spec.deadline",
        "spec.name",
        "spec.parallelism",
        "spec.schedule.cron",
        "spec.schedule.overlap",
        "spec.task.restart_policy.max_attempts",
        "spec.task.restart_policy.mode",
    ];
    assert_eq!(told, expected);
    let zone =
        v1::JobSchedule { cron: "@daily".to_owned(), time_zone: "Mars/Olympus".to_owned(), ..Default::default() };
    let status = create(&rig, v1::JobSpec { schedule: Some(zone), ..nightly("report") }, "").await.unwrap_err();
    assert_eq!(fields(&status), ["spec.schedule.time_zone"]);
    assert_eq!(rig.api.writer.state().job_count(), 0);
}

#[tokio::test]
async fn jobs_are_listed_by_name_run_paused_and_deleted() {
    let rig = Rig::new().await;
    for name in ["c", "a", "b"] {
        create(&rig, nightly(name), "").await.unwrap();
    }
    let request = v1::ListJobsRequest { page_size: 2, ..Default::default() };
    let page = service(&rig).list_jobs(Request::new(request.clone())).await.unwrap().into_inner();
    let names = |jobs: &[v1::Job]| jobs.iter().map(|job| job.spec.as_ref().unwrap().name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&page.jobs), ["a", "b"]);
    let rest = v1::ListJobsRequest { page_token: page.next_page_token, ..request };
    let rest = service(&rig).list_jobs(Request::new(rest)).await.unwrap().into_inner();
    assert_eq!((names(&rest.jobs), rest.next_page_token), (vec!["c".to_owned()], String::new()));

    let run = v1::RunJobRequest { job: "a".to_owned(), ..Default::default() };
    let begun = service(&rig).run_job(Request::new(run.clone())).await.unwrap().into_inner();
    assert_eq!((begun.run, begun.job.unwrap().runs[0].state()), (1, v1::JobRunState::Running));
    service(&rig).pause_job(Request::new(v1::PauseJobRequest { job: "a".to_owned() })).await.unwrap();
    let status = refused(service(&rig).run_job(Request::new(run)).await);
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "JOB_IS_PAUSED"));
    let missing = v1::StopJobRunRequest { job: "a".to_owned(), run: 9 };
    let status = refused(service(&rig).stop_job_run(Request::new(missing)).await);
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "RUN_NOT_FOUND"));
    let nameless = refused(service(&rig).get_job(Request::new(v1::GetJobRequest::default())).await);
    assert_eq!(fields(&nameless), ["job"]);
    let delete = v1::DeleteJobRequest { job: "a".to_owned(), ..Default::default() };
    service(&rig).delete_job(Request::new(delete.clone())).await.unwrap();
    service(&rig).delete_job(Request::new(delete)).await.unwrap();
    let resume = refused(service(&rig).resume_job(Request::new(v1::ResumeJobRequest { job: "a".to_owned() })).await);
    assert_eq!(reason(&resume), "JOB_IS_BEING_DELETED");
}
