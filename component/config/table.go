package config

import "time"

// settings is the one table. Everything that is documented, checked or printed about settings comes from here.
var settings = []Setting{
	{
		Name: "userFunction", Default: "127.0.0.1:8080", Type: "string", Scope: State | Process,
		Meaning: "Address of the user function, the process with the handlers, as host:port or as unix:<path>.",
		Example: "127.0.0.1:8080",
		parse:   text(func(c *Config) *string { return &c.UserFunction }),
	},
	{
		Name: "journal", Default: "sqlite:entities.db", Type: "string", Scope: State | Process, Sensitive: true,
		Meaning: "Where events are kept: sqlite:<file> (one host), postgres://<user>:<password>@<host>/<database> (any number of hosts), memory: (gone when the process ends). The environment variable ENTITIES_JOURNAL sets it too.",
		Example: "postgres://entities:secret@localhost:5432/entities?sslmode=disable",
		parse: func(c *Config, _, value string) (err error) {
			c.Journal, err = parseJournal(value)
			return err
		},
	},
	{
		Name: "appId", Type: "string", Scope: State | Binding | PubSub | Process,
		Meaning: "App id of the sidecar. Write {appID}, which the sidecar replaces. A restarted component resumes only with a sidecar of this app id.",
		Example: "{appID}",
		parse:   optional(func(c *Config) *string { return &c.AppID }),
	},
	{
		Name: "host", Default: "auto", Type: "string", Scope: State | Process, Allowed: []string{"auto", "true", "false"},
		Meaning: "Whether entities are hosted here: true, false, or auto, which is once a user function has been found.",
		Example: "true",
		parse:   choice(func(c *Config) *Host { return &c.Host }, HostAuto, HostAlways, HostNever),
	},
	{
		Name: "actorType.", Rest: "service", Type: "string", Scope: State | Binding | Process,
		Meaning: "Name of the actor type of one service, given by its full name. Without it the actor type is the service's simple name.",
		Example: "actorType.shop.v1.ShoppingCart=Cart",
		parse:   parseActorType,
	},
	{
		Name: "daprGrpcEndpoint", Default: "127.0.0.1:50001", Type: "string", Scope: State | Binding | PubSub | Process,
		Meaning: "Address of the sidecar's gRPC API. The environment variables DAPR_GRPC_ENDPOINT and DAPR_GRPC_PORT set it too.",
		Example: "127.0.0.1:50001",
		parse:   text(func(c *Config) *string { return &c.DaprGRPCEndpoint }),
	},
	{
		Name: "daprApiToken", Type: "string", Scope: State | Binding | PubSub | Process, Sensitive: true,
		Meaning: "API token of the sidecar. Better given by the environment variable DAPR_API_TOKEN or a secretKeyRef.",
		Example: "a-long-random-text",
		parse: func(c *Config, _, value string) error {
			c.DaprAPIToken = Secret(value)
			return nil
		},
	},
	{
		Name: "commandTimeout", Default: "1m", Type: "duration", Scope: State | Binding | Process,
		Meaning: "Time that a command may take whose caller set no deadline.",
		Example: "30s",
		parse:   duration(func(c *Config) *time.Duration { return &c.CommandTimeout }, "1ms", "24h"),
	},
	{
		Name: "idleTimeout", Default: "30s", Type: "duration", Scope: State | Process,
		Meaning: "Time after which an entity without commands leaves memory, unless its service sets another.",
		Example: "5m",
		parse:   duration(func(c *Config) *time.Duration { return &c.IdleTimeout }, "1ms", "8760h"),
	},
	{
		Name: "drainTimeout", Default: "2s", Type: "duration", Scope: State | Process,
		Meaning: "Time that commands in progress get to end when the sidecar moves entities or the component stops. While a sidecar drains, all its actors wait; at 8s placement would drop it.",
		Example: "5s",
		parse:   duration(func(c *Config) *time.Duration { return &c.DrainTimeout }, "1ms", "7s"),
	},
	{
		Name: "gracePeriod", Default: "20s", Type: "duration", Scope: Process,
		Meaning: "Time in which the component stops altogether; what is left then is cut off. Keep it below terminationGracePeriodSeconds of the pod.",
		Example: "20s",
		parse:   duration(func(c *Config) *time.Duration { return &c.GracePeriod }, "1ms", "1h"),
	},
	{
		Name: "reads", Default: "checked", Type: "string", Scope: State | Process, Allowed: []string{"checked", "cached"},
		Meaning: "Whether an answer that wrote nothing is confirmed with the journal (checked) or given from memory (cached: faster, may be stale while an entity moves).",
		Example: "cached",
		parse:   choice(func(c *Config) *Reads { return &c.Reads }, Checked, Cached),
	},
	{
		Name: "maxResident", Default: "10000", Type: "number", Scope: State | Process,
		Meaning: "Number of idle entities kept in memory; the least recently used leave first.",
		Example: "50000",
		parse:   number(func(c *Config) *int { return &c.MaxResident }, 1, 100_000_000),
	},
	{
		Name: "maxQueue", Default: "1000", Type: "number", Scope: State | Process,
		Meaning: "Number of commands that may wait for one entity. Past it a command is answered RESOURCE_EXHAUSTED at once.",
		Example: "256",
		parse:   number(func(c *Config) *int { return &c.MaxQueue }, 1, 1_000_000),
	},
	{
		Name: "maxInFlight", Default: "10000", Type: "number", Scope: State | Process,
		Meaning: "Number of commands of one service that may be in progress or waiting.",
		Example: "20000",
		parse:   number(func(c *Config) *int { return &c.MaxInFlight }, 1, 10_000_000),
	},
	{
		Name: "maxEvents", Default: "1000", Type: "number", Scope: State | Process,
		Meaning: "Number of events that one command may emit.",
		Example: "100",
		parse:   number(func(c *Config) *int { return &c.MaxEvents }, 1, 1_000_000),
	},
	{
		Name: "maxEffects", Default: "100", Type: "number", Scope: State | Process,
		Meaning: "Number of effects that one command may ask for.",
		Example: "1000",
		parse:   number(func(c *Config) *int { return &c.MaxEffects }, 1, 100_000),
	},
	{
		Name: "maxHops", Default: "16", Type: "number", Scope: State | Process,
		Meaning: "Number of times that one command may be forwarded, or have effects that are waited for.",
		Example: "4",
		parse:   number(func(c *Config) *int { return &c.MaxHops }, 1, 1000),
	},
	{
		Name: "maxTries", Default: "10", Type: "number", Scope: State | Process,
		Meaning: "Number of times that an effect, or the delivery of an event, is tried before it is parked.",
		Example: "100",
		parse:   number(func(c *Config) *int { return &c.MaxTries }, 1, 1_000_000),
	},
	{
		Name: "leaseTimeout", Default: "5s", Type: "duration", Scope: State | Process,
		Meaning: "Time after which other components of the same journal take over the effects and feeds of one that is gone.",
		Example: "15s",
		parse:   duration(func(c *Config) *time.Duration { return &c.LeaseTimeout }, "500ms", "10m"),
	},
	{
		Name: "pubsub", Default: "pubsub", Type: "string", Scope: State | Process,
		Meaning: "Pub/sub component of the sidecar in which the topics of methods are.",
		Example: "kafka",
		parse:   text(func(c *Config) *string { return &c.Pubsub }),
	},
	{
		Name: "replication", Default: "auto", Type: "string", Scope: State | Process,
		Meaning: "How nodes tell each other of writes to replicated entities: journal (the shared PostgreSQL), pubsub:<name of a pub/sub component of the sidecar>, or none for one node. auto is journal with PostgreSQL, else none.",
		Example: "pubsub:redis",
		parse:   parseReplication,
	},
	{
		Name: "peerAddress", Default: "off", Type: "string", Scope: State | Process,
		Meaning: "Address at which other nodes ask this one for what they have missed of replicated entities, or off: then they ask in the way of replication, which is slower.",
		Example: "10.0.0.7:9100",
		parse:   address(func(c *Config) *string { return &c.PeerAddress }),
	},
	{
		Name: "peerKey", Type: "string", Scope: State | Process, Sensitive: true,
		Meaning: "Secret by which nodes know each other at peerAddress, the same on all of them.",
		Example: "a long random text",
		parse:   parsePeerKey,
	},
	{
		Name: "slotTimeout", Default: "15s", Type: "duration", Scope: State | Process,
		Meaning: "Time after which a node that shows no sign of life no longer counts as a member of replication. It stops writing after half of it.",
		Example: "30s",
		parse:   duration(func(c *Config) *time.Duration { return &c.SlotTimeout }, "1s", "10m"),
	},
	{
		Name: "crdt.", Rest: "prefix", Type: "string", Scope: State | Process,
		Allowed: []string{"gcounter", "pncounter", "gset", "orset", "lwwregister", "flag", "ormap", "vote"},
		Meaning: "Type of the replicated state keys that begin with the prefix, as the app writes it; the longest prefix holds. Any node takes writes to them, which are operations; docs/crdt-keys.md has them.",
		Example: "crdt.likes-=pncounter",
		parse:   parseCRDT,
	},
	{
		Name: "gatewayAddress", Default: "off", Type: "string", Scope: State | Process,
		Meaning: "Address at which all services of the user function are served over gRPC, gRPC-Web and HTTP, or off. There is no authentication: leave it on the loopback interface, or behind something that has.",
		Example: "127.0.0.1:9000",
		parse:   address(func(c *Config) *string { return &c.GatewayAddress }),
	},
	{
		Name: "gatewayOrigins", Type: "string", Scope: State | Process,
		Meaning: "Origins, separated by commas, whose web pages may call the gateway (CORS), or * for all. Without it none may.",
		Example: "https://shop.example.com",
		parse:   optional(func(c *Config) *string { return &c.GatewayOrigins }),
	},
	{
		Name: "appPort", Default: "off", Type: "string", Scope: State | Process,
		Meaning: "Port, or host:port, at which the sidecar finds its app (daprd's --app-port, with --app-protocol http): entities are hosted there, and not over the actor stream, which Dapr has since 1.18.2. Or off.",
		Example: "3000",
		parse:   parseAppPort,
	},
	{
		Name: "upstream", Type: "string", Scope: State | Process,
		Meaning: "Address of the HTTP app behind appPort: it gets everything that the sidecar asks for and that is not about entities.",
		Example: "http://127.0.0.1:3001",
		parse:   parseUpstream,
	},
	{
		Name: "appApiToken", Type: "string", Scope: State | Process, Sensitive: true,
		Meaning: "Token that the sidecar shows to its app at appPort. The environment variable APP_API_TOKEN sets it too.",
		Example: "a-long-random-text",
		parse: func(c *Config, _, value string) error {
			c.AppAPIToken = Secret(value)
			return nil
		},
	},
	{
		Name: "maxBytes", Default: "256Mi", Type: "bytesize", Scope: State | Process,
		Meaning: "Size of all commands and answers in progress together.",
		Example: "1Gi",
		parse:   size(func(c *Config) *int64 { return &c.MaxBytes }, 1<<20, 1<<40),
	},
	{
		Name: "maxMessage", Default: "16Mi", Type: "bytesize", Scope: State | Binding | PubSub | Process,
		Meaning: "Size of one message that the component takes from the sidecar or from the user function.",
		Example: "64Mi",
		parse:   size(func(c *Config) *int64 { return &c.MaxMessage }, 64<<10, 1<<30),
	},
	{
		Name: "maxMetadata", Default: "64Ki", Type: "bytesize", Scope: State | Process,
		Meaning: "Size of the metadata that a command brings along.",
		Example: "16Ki",
		parse:   size(func(c *Config) *int64 { return &c.MaxMetadata }, 1<<10, 1<<26),
	},
	{
		Name: "maxReply", Default: "4032Ki", Type: "bytesize", Scope: State | Binding | PubSub | Process,
		Meaning: "Size of one answer to the sidecar, state values included, and of one command that goes out through it. A larger one breaks the sidecar's actor stream unless its --max-body-size (default 4Mi) is raised; the answers of state and binding never get past 4Mi.",
		Example: "1Mi",
		parse:   size(func(c *Config) *int64 { return &c.MaxReply }, 1<<10, 1<<30),
	},
	{
		Name: "adminAddress", Default: "127.0.0.1:9095", Type: "string", Scope: Process,
		Meaning: "Address of health checks and metrics over HTTP, or off.",
		Example: "0.0.0.0:9095",
		parse:   address(func(c *Config) *string { return &c.AdminAddress }),
	},
	{
		Name: "pprof", Default: "false", Type: "bool", Scope: Process,
		Meaning: "Whether the admin address serves Go profiles, which show much of what the process does.",
		Example: "true",
		parse:   boolean(func(c *Config) *bool { return &c.Pprof }),
	},
	{
		Name: "services", Type: "string", Scope: Binding,
		Meaning: "Services whose events an input binding tells the app of, separated by commas. A * stands for any number of characters.",
		Example: "shop.v1.Cart,billing.*",
		parse:   parseServices,
	},
	{
		Name: "topicRetention", Default: "off", Type: "string", Scope: State | Process,
		Meaning: "How long the messages of topics are kept, whether or not they were delivered, or off: for ever. The events of services are kept in any case.",
		Example: "720h",
		parse:   parseTopicRetention,
	},
	{
		Name: "consumerID", Type: "string", Scope: PubSub | Binding,
		Meaning: "Who consumes: components with the same one share the messages of a topic, or the events of an input binding of the same name; others have each their own. Defaults to the app id.",
		Example: "billing",
		parse:   parseConsumerID,
	},
	{
		Name: "from", Default: "beginning", Type: "string", Scope: PubSub | Binding, Allowed: []string{"beginning", "now"},
		Meaning: "Where a consumer begins at its first subscription to a topic or service: with the first message that is kept (beginning), or with the next one (now). The metadata of a subscription may say it, too.",
		Example: "now",
		parse:   choice(func(c *Config) *From { return &c.From }, FromBeginning, FromNow),
	},
	{
		Name: "maxDeliveries", Default: "100", Type: "number", Scope: PubSub | Binding,
		Meaning: "Number of times that a message is delivered before it is parked, so that those behind it get on. The pause before the next time doubles from 100ms to 30s: 100 times are at least 20 minutes.",
		Example: "10",
		parse:   number(func(c *Config) *int { return &c.MaxDeliveries }, 1, 1_000_000),
	},
	{
		Name: "ackTimeout", Default: "1m", Type: "duration", Scope: PubSub | Binding,
		Meaning: "Time after which a message that is neither acknowledged nor refused is delivered again. Make it longer than the app takes for a message.",
		Example: "5m",
		parse:   duration(func(c *Config) *time.Duration { return &c.AckTimeout }, "100ms", "24h"),
	},
	{
		Name: "maxUnacked", Default: "16", Type: "number", Scope: PubSub | Binding,
		Meaning: "Number of messages that a subscription is given ahead of its acknowledgements, each of another entity. The sidecar hands those of a topic to the app one by one, the events of an input binding all at once.",
		Example: "1",
		parse:   number(func(c *Config) *int { return &c.MaxUnacked }, 1, 1000),
	},
	{
		Name: "onRestart", Default: "log", Type: "string", Scope: PubSub | Binding, Allowed: []string{"log", "restartSidecar"},
		Meaning: "What is done when the component has restarted and its sidecar, which does not subscribe again, has not: an error in the log, or a shutdown of the sidecar, which has to be started again by Kubernetes or whatever looks after it.",
		Example: "restartSidecar",
		parse:   choice(func(c *Config) *OnRestart { return &c.OnRestart }, OnRestartLog, OnRestartSidecar),
	},
	{
		Name: "initFile", Default: "on", Type: "string", Scope: State | PubSub | Binding | Process, Allowed: []string{"on", "off"},
		Meaning: "Whether the last metadata, secrets included, is kept in a file beside the socket that only this user can read. Without it a restarted component does nothing until its sidecar restarts too.",
		Example: "off",
		parse: func(c *Config, _, value string) error {
			var v string
			err := choice(func(*Config) *string { return &v }, "on", "off")(c, "", value)
			c.InitFile = v != "off"
			return err
		},
	},
	{
		Name: "logLevel", Default: "info", Type: "string", Scope: Process, Allowed: []string{"debug", "info", "warn", "error"},
		Meaning: "Least level of the log lines that are written.",
		Example: "debug",
		parse:   parseLogLevel,
	},
	{
		Name: "logFormat", Default: "text", Type: "string", Scope: Process, Allowed: []string{"text", "json"},
		Meaning: "Form of the log lines.",
		Example: "json",
		parse:   choice(func(c *Config) *string { return &c.LogFormat }, "text", "json"),
	},
	{
		Name: "socketFolder", Default: "/tmp/dapr-components-sockets", Type: "string", Scope: Process,
		Meaning: "Folder in which the sidecar looks for sockets: one for each sidecar. The environment variables DAPR_COMPONENTS_SOCKETS_FOLDER and DAPR_COMPONENT_SOCKETS_FOLDER set it too.",
		Example: "/run/dapr/sockets",
		parse:   text(func(c *Config) *string { return &c.SocketFolder }),
	},
	{
		Name: "socketName", Default: "entities", Type: "string", Scope: Process,
		Meaning: "Name of the socket without .sock, which is the second half of the component types: entities makes state.entities, bindings.entities and pubsub.entities.",
		Example: "entities",
		parse:   parseSocketName,
	},
	{
		Name: "socketMode", Default: "0660", Type: "string", Scope: Process,
		Meaning: "Permissions of the socket, in octal. The sidecar must be able to write to it.",
		Example: "0600",
		parse:   parseSocketMode,
	},

	dapr("actorStateStore", "bool", State, "Whether this is the state store of the sidecar's actors. One component of an app id says true, and hosting entities needs one.", "true"),
	dapr("keyPrefix", "string", State, "What the sidecar puts before state keys: appid, name, namespace, none, or a text.", "name"),
	dapr("outboxPublishPubsub", "string", State, "Pub/sub component of the sidecar's outbox.", "pubsub"),
	dapr("outboxPublishTopic", "string", State, "Topic of the sidecar's outbox.", "orders"),
	dapr("outboxPubsub", "string", State, "Pub/sub component for the internal topic of the sidecar's outbox.", "pubsub"),
	dapr("outboxDiscardWhenMissingState", "bool", State, "Whether the sidecar's outbox drops messages whose transaction it does not find.", "true"),
	dapr("primaryEncryptionKey", "string", State, "Key with which the sidecar encrypts state values.", "{a secretKeyRef}"),
	dapr("secondaryEncryptionKey", "string", State, "Key with which the sidecar decrypts what an earlier key encrypted.", "{a secretKeyRef}"),
	dapr("allowedTopics", "string", PubSub, "Topics that may be used, separated by commas.", "orders,payments"),
	dapr("protectedTopics", "string", PubSub, "Topics that only apps with a scope may use, separated by commas.", "payments"),
	dapr("publishingScopes", "string", PubSub, "Topics to which apps may publish.", "shop=orders;billing=payments"),
	dapr("subscriptionScopes", "string", PubSub, "Topics to which apps may subscribe.", "billing=orders"),
	dapr("direction", "string", Binding, "Direction of the binding: input, output, or both, separated by a comma. For input the setting services has to say of what.", "input"),
}
