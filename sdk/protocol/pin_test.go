package protocol_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/action"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/crdt"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/eventsourced"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/valueentity"
)

// The wire of Cloudstate protocol 0.2, written out by hand. User functions and proxies that exist depend on every line.
const paths = `
/cloudstate.EntityDiscovery/discover cloudstate.ProxyInfo -> cloudstate.EntitySpec
/cloudstate.EntityDiscovery/reportError cloudstate.UserFunctionError -> google.protobuf.Empty
/cloudstate.eventsourced.EventSourced/handle stream cloudstate.eventsourced.EventSourcedStreamIn -> stream cloudstate.eventsourced.EventSourcedStreamOut
/cloudstate.valueentity.ValueEntity/handle stream cloudstate.valueentity.ValueEntityStreamIn -> stream cloudstate.valueentity.ValueEntityStreamOut
/cloudstate.crdt.Crdt/handle stream cloudstate.crdt.CrdtStreamIn -> stream cloudstate.crdt.CrdtStreamOut
/cloudstate.action.ActionProtocol/handleUnary cloudstate.action.ActionCommand -> cloudstate.action.ActionResponse
/cloudstate.action.ActionProtocol/handleStreamedIn stream cloudstate.action.ActionCommand -> cloudstate.action.ActionResponse
/cloudstate.action.ActionProtocol/handleStreamedOut cloudstate.action.ActionCommand -> stream cloudstate.action.ActionResponse
/cloudstate.action.ActionProtocol/handleStreamed stream cloudstate.action.ActionCommand -> stream cloudstate.action.ActionResponse
`

// A message's line, then its fields: number name type. A field of a oneof has the oneof's name before it and a slash.
const messages = `
cloudstate.Metadata
1 entries repeated cloudstate.MetadataEntry
cloudstate.MetadataEntry
1 key string
2 value/string_value string
3 value/bytes_value bytes
cloudstate.Reply
1 payload google.protobuf.Any
2 metadata cloudstate.Metadata
cloudstate.Forward
1 service_name string
2 command_name string
3 payload google.protobuf.Any
4 metadata cloudstate.Metadata
cloudstate.ClientAction
1 action/reply cloudstate.Reply
2 action/forward cloudstate.Forward
3 action/failure cloudstate.Failure
cloudstate.SideEffect
1 service_name string
2 command_name string
3 payload google.protobuf.Any
4 synchronous bool
5 metadata cloudstate.Metadata
cloudstate.Command
1 entity_id string
2 id int64
3 name string
4 payload google.protobuf.Any
5 streamed bool
6 metadata cloudstate.Metadata
cloudstate.StreamCancelled
1 entity_id string
2 id int64
cloudstate.Failure
1 command_id int64
2 description string
3 restart bool
cloudstate.EntitySpec
1 proto bytes
2 entities repeated cloudstate.Entity
3 service_info cloudstate.ServiceInfo
cloudstate.ServiceInfo
1 service_name string
2 service_version string
3 service_runtime string
4 support_library_name string
5 support_library_version string
6 protocol_major_version int32
7 protocol_minor_version int32
cloudstate.Entity
1 entity_type string
2 service_name string
3 persistence_id string
4 passivation_strategy cloudstate.EntityPassivationStrategy
cloudstate.EntityPassivationStrategy
1 strategy/timeout cloudstate.TimeoutPassivationStrategy
cloudstate.TimeoutPassivationStrategy
1 timeout int64
cloudstate.UserFunctionError
1 message string
cloudstate.ProxyInfo
1 protocol_major_version int32
2 protocol_minor_version int32
3 proxy_name string
4 proxy_version string
5 supported_entity_types repeated string
cloudstate.Eventing
1 in cloudstate.EventSource
2 out cloudstate.EventDestination
cloudstate.EventSource
1 consumer_group string
2 source/topic string
3 source/event_log string
cloudstate.EventDestination
1 destination/topic string
cloudstate.eventsourced.EventSourcedInit
1 service_name string
2 entity_id string
3 snapshot cloudstate.eventsourced.EventSourcedSnapshot
cloudstate.eventsourced.EventSourcedSnapshot
1 snapshot_sequence int64
2 snapshot google.protobuf.Any
cloudstate.eventsourced.EventSourcedEvent
1 sequence int64
2 payload google.protobuf.Any
cloudstate.eventsourced.EventSourcedReply
1 command_id int64
2 client_action cloudstate.ClientAction
3 side_effects repeated cloudstate.SideEffect
4 events repeated google.protobuf.Any
5 snapshot google.protobuf.Any
cloudstate.eventsourced.EventSourcedStreamIn
1 message/init cloudstate.eventsourced.EventSourcedInit
2 message/event cloudstate.eventsourced.EventSourcedEvent
3 message/command cloudstate.Command
cloudstate.eventsourced.EventSourcedStreamOut
1 message/reply cloudstate.eventsourced.EventSourcedReply
2 message/failure cloudstate.Failure
cloudstate.valueentity.ValueEntityStreamIn
1 message/init cloudstate.valueentity.ValueEntityInit
2 message/command cloudstate.Command
cloudstate.valueentity.ValueEntityInit
1 service_name string
2 entity_id string
3 state cloudstate.valueentity.ValueEntityInitState
cloudstate.valueentity.ValueEntityInitState
1 value google.protobuf.Any
cloudstate.valueentity.ValueEntityStreamOut
1 message/reply cloudstate.valueentity.ValueEntityReply
2 message/failure cloudstate.Failure
cloudstate.valueentity.ValueEntityReply
1 command_id int64
2 client_action cloudstate.ClientAction
3 side_effects repeated cloudstate.SideEffect
4 state_action cloudstate.valueentity.ValueEntityAction
cloudstate.valueentity.ValueEntityAction
1 action/update cloudstate.valueentity.ValueEntityUpdate
2 action/delete cloudstate.valueentity.ValueEntityDelete
cloudstate.valueentity.ValueEntityUpdate
1 value google.protobuf.Any
cloudstate.valueentity.ValueEntityDelete
cloudstate.action.ActionCommand
2 service_name string
3 name string
4 payload google.protobuf.Any
5 metadata cloudstate.Metadata
cloudstate.action.ActionResponse
1 response/failure cloudstate.Failure
2 response/reply cloudstate.Reply
3 response/forward cloudstate.Forward
4 side_effects repeated cloudstate.SideEffect
cloudstate.crdt.CrdtStreamIn
1 message/init cloudstate.crdt.CrdtInit
2 message/delta cloudstate.crdt.CrdtDelta
3 message/delete cloudstate.crdt.CrdtDelete
4 message/command cloudstate.Command
5 message/stream_cancelled cloudstate.StreamCancelled
cloudstate.crdt.CrdtStreamOut
1 message/reply cloudstate.crdt.CrdtReply
2 message/streamed_message cloudstate.crdt.CrdtStreamedMessage
3 message/stream_cancelled_response cloudstate.crdt.CrdtStreamCancelledResponse
4 message/failure cloudstate.Failure
cloudstate.crdt.CrdtDelta
1 delta/gcounter cloudstate.crdt.GCounterDelta
2 delta/pncounter cloudstate.crdt.PNCounterDelta
3 delta/gset cloudstate.crdt.GSetDelta
4 delta/orset cloudstate.crdt.ORSetDelta
5 delta/lwwregister cloudstate.crdt.LWWRegisterDelta
6 delta/flag cloudstate.crdt.FlagDelta
7 delta/ormap cloudstate.crdt.ORMapDelta
8 delta/vote cloudstate.crdt.VoteDelta
cloudstate.crdt.GCounterDelta
1 increment uint64
cloudstate.crdt.PNCounterDelta
1 change sint64
cloudstate.crdt.GSetDelta
1 added repeated google.protobuf.Any
cloudstate.crdt.ORSetDelta
1 cleared bool
2 removed repeated google.protobuf.Any
3 added repeated google.protobuf.Any
cloudstate.crdt.LWWRegisterDelta
1 value google.protobuf.Any
2 clock cloudstate.crdt.CrdtClock
3 custom_clock_value int64
cloudstate.crdt.FlagDelta
1 value bool
cloudstate.crdt.ORMapDelta
1 cleared bool
2 removed repeated google.protobuf.Any
3 updated repeated cloudstate.crdt.ORMapEntryDelta
4 added repeated cloudstate.crdt.ORMapEntryDelta
cloudstate.crdt.ORMapEntryDelta
1 key google.protobuf.Any
2 delta cloudstate.crdt.CrdtDelta
cloudstate.crdt.VoteDelta
1 self_vote bool
2 votes_for int32
3 total_voters int32
cloudstate.crdt.CrdtInit
1 service_name string
2 entity_id string
3 delta cloudstate.crdt.CrdtDelta
cloudstate.crdt.CrdtDelete
cloudstate.crdt.CrdtReply
1 command_id int64
2 client_action cloudstate.ClientAction
4 side_effects repeated cloudstate.SideEffect
5 state_action cloudstate.crdt.CrdtStateAction
6 streamed bool
cloudstate.crdt.CrdtStateAction
1 action/update cloudstate.crdt.CrdtDelta
2 action/delete cloudstate.crdt.CrdtDelete
3 write_consistency cloudstate.crdt.CrdtWriteConsistency
cloudstate.crdt.CrdtStreamedMessage
1 command_id int64
2 client_action cloudstate.ClientAction
3 side_effects repeated cloudstate.SideEffect
4 end_stream bool
cloudstate.crdt.CrdtStreamCancelledResponse
1 command_id int64
2 side_effects repeated cloudstate.SideEffect
3 state_action cloudstate.crdt.CrdtStateAction
`

const enums = `
cloudstate.crdt.CrdtWriteConsistency
0 LOCAL
1 MAJORITY
2 ALL
cloudstate.crdt.CrdtClock
0 DEFAULT
1 REVERSE
2 CUSTOM
3 CUSTOM_AUTO_INCREMENT
`

// The options of service authors: number, name, type, what it extends.
const options = `
1080 cloudstate.entity_key bool google.protobuf.FieldOptions
50002 cloudstate.legacy_entity_key bool google.protobuf.FieldOptions
1081 cloudstate.eventing cloudstate.Eventing google.protobuf.MethodOptions
`

// The extensions of this project: fields from 100 on, and messages of their own. Peers know them by these numbers too.
const extensions = `
cloudstate.Forward 100 entity_id string
cloudstate.SideEffect 100 entity_id string
cloudstate.SideEffect 101 delay_millis int64
cloudstate.SideEffect 102 due_millis int64
cloudstate.SideEffect 103 key string
cloudstate.SideEffect 104 cancel bool
cloudstate.Command 100 sequence int64
cloudstate.Command 101 idempotency_key string
cloudstate.Failure 100 code int32
cloudstate.ServiceInfo 100 extensions repeated string
cloudstate.Entity 100 methods repeated cloudstate.Method
cloudstate.Method 1 name string
cloudstate.Method 2 input string
cloudstate.Method 3 output string
cloudstate.Method 4 eventing cloudstate.Eventing
cloudstate.Method 5 streamed_in bool
cloudstate.Method 6 streamed_out bool
cloudstate.ProxyInfo 100 extensions repeated string
cloudstate.action.ActionCommand 100 idempotency_key string
cloudstate.eventsourced.EventSourcedEvent 100 name string
cloudstate.eventsourced.EventSourcedReply 100 event_names repeated string
`

var extensionMessages = []protoreflect.FullName{"cloudstate.Method"}

var files = []protoreflect.FileDescriptor{
	cloudstate.File_cloudstate_entity_proto,
	cloudstate.File_cloudstate_eventing_proto,
	cloudstate.File_cloudstate_entity_key_proto,
	cloudstate.File_cloudstate_legacy_entity_key_proto,
	eventsourced.File_cloudstate_event_sourced_proto,
	valueentity.File_cloudstate_value_entity_proto,
	crdt.File_cloudstate_crdt_proto,
	action.File_cloudstate_action_proto,
}

func TestPaths(t *testing.T) {
	t.Parallel()
	var got []string
	for _, f := range files {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				m := s.Methods().Get(j)
				got = append(got, fmt.Sprintf("/%s/%s %s%s -> %s%s", s.FullName(), m.Name(), stream(m.IsStreamingClient()), m.Input().FullName(),
					stream(m.IsStreamingServer()), m.Output().FullName()))
			}
		}
	}
	same(t, lines(paths), got)
}

func TestGeneratedPaths(t *testing.T) {
	t.Parallel()
	got := []string{cloudstate.EntityDiscovery_Discover_FullMethodName, cloudstate.EntityDiscovery_ReportError_FullMethodName,
		eventsourced.EventSourced_Handle_FullMethodName, valueentity.ValueEntity_Handle_FullMethodName, crdt.Crdt_Handle_FullMethodName,
		action.ActionProtocol_HandleUnary_FullMethodName, action.ActionProtocol_HandleStreamedIn_FullMethodName,
		action.ActionProtocol_HandleStreamedOut_FullMethodName, action.ActionProtocol_HandleStreamed_FullMethodName}
	var want []string
	for _, l := range lines(paths) {
		path, _, _ := strings.Cut(l, " ")
		want = append(want, path)
	}
	same(t, want, got)
}

func TestFields(t *testing.T) {
	t.Parallel()
	var want, got []string
	message := ""
	for _, l := range lines(messages) {
		if l[0] > '9' {
			message = l
			want = append(want, l)
			continue
		}
		want = append(want, message+" "+l)
	}
	var extended []string
	for _, f := range files {
		for i := range f.Messages().Len() {
			m := f.Messages().Get(i)
			if m.Messages().Len() > 0 || m.Enums().Len() > 0 {
				t.Errorf("%s has types inside", m.FullName())
			}
			ours := slices.Contains(extensionMessages, m.FullName())
			if !ours {
				got = append(got, string(m.FullName()))
			}
			for j := range m.Fields().Len() {
				field := m.Fields().Get(j)
				line := fmt.Sprintf("%s %s", m.FullName(), describe(field))
				if ours || field.Number() >= 100 {
					extended = append(extended, line)
					continue
				}
				got = append(got, line)
			}
		}
	}
	same(t, want, got)
	same(t, lines(extensions), extended)
}

func TestEnums(t *testing.T) {
	t.Parallel()
	var got []string
	for _, f := range files {
		for i := range f.Enums().Len() {
			e := f.Enums().Get(i)
			for j := range e.Values().Len() {
				got = append(got, fmt.Sprintf("%s %d %s", e.FullName(), e.Values().Get(j).Number(), e.Values().Get(j).Name()))
			}
		}
	}
	var want []string
	enum := ""
	for _, l := range lines(enums) {
		if l[0] > '9' {
			enum = l
			continue
		}
		want = append(want, enum+" "+l)
	}
	same(t, want, got)
}

func TestOptions(t *testing.T) {
	t.Parallel()
	var got []string
	for _, f := range files {
		for i := range f.Extensions().Len() {
			x := f.Extensions().Get(i)
			got = append(got, fmt.Sprintf("%d %s %s %s", x.Number(), x.FullName(), kind(x), x.ContainingMessage().FullName()))
		}
	}
	same(t, lines(options), got)
}

func describe(f protoreflect.FieldDescriptor) string {
	name := string(f.Name())
	if o := f.ContainingOneof(); o != nil {
		name = string(o.Name()) + "/" + name
	}
	return fmt.Sprintf("%d %s %s", f.Number(), name, kind(f))
}

func kind(f protoreflect.FieldDescriptor) string {
	k := f.Kind().String()
	switch {
	case f.Message() != nil:
		k = string(f.Message().FullName())
	case f.Enum() != nil:
		k = string(f.Enum().FullName())
	}
	if f.IsList() {
		return "repeated " + k
	}
	return k
}

func stream(is bool) string {
	if is {
		return "stream "
	}
	return ""
}

func lines(s string) []string { return strings.Split(strings.TrimSpace(s), "\n") }

func same(t *testing.T, want, got []string) {
	t.Helper()
	slices.Sort(want)
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
