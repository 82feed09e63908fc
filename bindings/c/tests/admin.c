/* The admin client. */
#include "test.h"

static ottla_admin *admin(void)
{
    ottla_config *cfg = config(NULL, 0);
    ottla_admin *made = NULL;
    OK(ottla_admin_new(cfg, &made, &err));
    ottla_config_free(cfg);
    return made;
}

static ottla_result *result_of(ottla_call *call)
{
    ottla_result *result = NULL;
    OK(ottla_call_wait(call, PATIENCE_MS, &result, &err));
    return result;
}

static void topics_are_made_grown_listed_and_deleted(void)
{
    const char *name = topic("admin", 2);
    ottla_admin *a = admin();
    ottla_new_topic again = OTTLA_NEW_TOPIC_INIT;
    ottla_result *result;
    const ottla_outcome *outcomes;
    const ottla_topic_info *topics;
    size_t count = 0, i, found = 0;
    again.name = name;
    result = result_of(ottla_admin_create_topics(a, &again, 1, false));
    outcomes = ottla_result_outcomes(result, &count);
    CHECK(count == 1 && outcomes[0].status == OTTLA_E_TOPIC_ALREADY_EXISTS);
    CHECK(strstr(ottla_error_message(outcomes[0].error), name));
    ottla_result_free(result);

    result = result_of(ottla_admin_create_partitions(a, name, 5, false));
    CHECK(ottla_result_outcomes(result, &count)[0].status == 0);
    ottla_result_free(result);
    result = result_of(ottla_admin_describe_topics(a, &name, 1));
    topics = ottla_result_topics(result, &count);
    CHECK(count == 1 && topics[0].partition_count == 5 && strcmp(topics[0].name, name) == 0 && !topics[0].is_internal);
    CHECK(topics[0].partitions[4].partition == 4 && topics[0].partitions[4].replica_count == 1);
    CHECK(topics[0].partitions[4].in_sync[0] == topics[0].partitions[4].leader);
    ottla_result_free(result);
    result = result_of(ottla_admin_list_topics(a));
    topics = ottla_result_topics(result, &count);
    for (i = 0; i < count; i++)
        found += strcmp(topics[i].name, name) == 0 && topics[i].partitions == NULL;
    CHECK(found == 1);
    ottla_result_free(result);
    result = result_of(ottla_admin_delete_topics(a, &name, 1));
    CHECK(ottla_result_outcomes(result, &count)[0].status == 0);
    ottla_result_free(result);
    ottla_admin_free(a);
}

static const char *value_of(const ottla_result *result, const char *key)
{
    size_t count = 0, i;
    const ottla_config_info *configs = ottla_result_configs(result, &count);
    CHECK(count == 1);
    for (i = 0; i < configs[0].entry_count; i++)
        if (strcmp(configs[0].entries[i].name, key) == 0)
            return configs[0].entries[i].value;
    return NULL;
}

static void configurations_are_read_and_changed(void)
{
    const char *name = topic("configured", 1);
    ottla_admin *a = admin();
    ottla_pair change;
    ottla_result *result;
    size_t count = 0;
    change.name = "retention.ms";
    change.value = "123456";
    result = result_of(ottla_admin_alter_config(a, OTTLA_RESOURCE_TOPIC, name, &change, 1, false));
    CHECK(ottla_result_outcomes(result, &count)[0].status == 0);
    ottla_result_free(result);
    result = result_of(ottla_admin_describe_config(a, OTTLA_RESOURCE_TOPIC, name));
    CHECK(strcmp(value_of(result, "retention.ms"), "123456") == 0);
    ottla_result_free(result);
    change.value = NULL;
    result = result_of(ottla_admin_alter_config(a, OTTLA_RESOURCE_TOPIC, name, &change, 1, false));
    ottla_result_free(result);
    result = result_of(ottla_admin_describe_config(a, OTTLA_RESOURCE_TOPIC, name));
    CHECK(strcmp(value_of(result, "retention.ms"), "123456") != 0);
    ottla_result_free(result);
    FAILS(OTTLA_E_INVALID_ARG, ottla_call_wait(ottla_admin_describe_config(a, 4, "x"), PATIENCE_MS, NULL, &err));
    ottla_admin_free(a);
}

static void groups_and_their_offsets_are_seen_and_changed(void)
{
    const char *name = topic("grouped", 1);
    ottla_admin *a = admin();
    ottla_consumer *c = consumer(name, NULL);
    ottla_topic_partition tp = OTTLA_PARTITION(name, 0);
    const ottla_topic_partition *rows;
    const ottla_group_info *groups;
    ottla_result *result;
    ottla_batch *batch = NULL;
    size_t count = 0, i, found = 0;
    fill(name, 0, 3);
    OK(ottla_consumer_subscribe(c, &name, 1, &err));
    while (batch == NULL)
        OK(ottla_consumer_poll(c, 10, PATIENCE_MS, &batch, &err));
    OK(ottla_consumer_commit(c, batch, PATIENCE_MS, &err));
    ottla_batch_free(batch);
    result = result_of(ottla_admin_list_groups(a));
    groups = ottla_result_groups(result, &count);
    for (i = 0; i < count; i++)
        found += strcmp(groups[i].group_id, name) == 0;
    CHECK(found == 1);
    ottla_result_free(result);
    result = result_of(ottla_admin_describe_groups(a, &name, 1));
    groups = ottla_result_groups(result, &count);
    CHECK(count == 1 && groups[0].member_count == 1 && groups[0].members[0].assignment_count == 1);
    CHECK(strcmp(groups[0].members[0].assignment[0].topic, name) == 0 && strcmp(groups[0].state, "Stable") == 0);
    ottla_result_free(result);
    OK(ottla_consumer_close(c, PATIENCE_MS, &err));
    ottla_consumer_free(c);
    tp.offset = 1;
    result = result_of(ottla_admin_alter_group_offsets(a, name, &tp, 1));
    CHECK(ottla_result_outcomes(result, &count)[0].status == 0);
    ottla_result_free(result);
    result = result_of(ottla_admin_group_offsets(a, name));
    rows = ottla_result_partitions(result, &count);
    CHECK(count == 1 && rows[0].offset == 1);
    ottla_result_free(result);
    result = result_of(ottla_admin_delete_group_offsets(a, name, &tp, 1));
    CHECK(ottla_result_outcomes(result, &count)[0].status == 0);
    ottla_result_free(result);
    result = result_of(ottla_admin_delete_groups(a, &name, 1));
    CHECK(ottla_result_outcomes(result, &count)[0].status == 0 ||
          ottla_result_outcomes(result, &count)[0].status == OTTLA_E_GROUP_ID_NOT_FOUND);
    ottla_result_free(result);
    result = result_of(ottla_admin_list_offsets(a, OTTLA_OFFSET_LATEST, &tp, 1));
    rows = ottla_result_partitions(result, &count);
    CHECK(count == 1 && rows[0].status == 0 && rows[0].offset == 3);
    ottla_result_free(result);
    ottla_admin_free(a);
}

static void a_cluster_is_described(void)
{
    ottla_admin *a = admin();
    size_t count = 0;
    ottla_result *result = result_of(ottla_admin_describe_cluster(a));
    const ottla_broker_info *brokers = ottla_result_brokers(result, &count);
    CHECK(count >= 1 && brokers[0].port > 0 && brokers[0].host[0] != 0);
    CHECK(ottla_result_cluster_id(result)[0] != 0 && ottla_result_number(result) >= 0);
    ottla_result_free(result);
    ottla_admin_free(a);
}

int main(void)
{
    RUN(topics_are_made_grown_listed_and_deleted);
    RUN(configurations_are_read_and_changed);
    RUN(groups_and_their_offsets_are_seen_and_changed);
    RUN(a_cluster_is_described);
    return 0;
}
