// Command session asks of a running server what go-ensign needs of one, over plaintext or TLS.
//
// The server and an API key with every permission come from the environment variables that the SDK itself reads:
// ENSIGN_ENDPOINT, ENSIGN_AUTH_URL, ENSIGN_INSECURE, ENSIGN_CLIENT_ID and ENSIGN_CLIENT_SECRET. It prints "ok" and the name
// of each part; the first part that fails ends the run with exit code 1.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/rotationalio/go-ensign"
	api "github.com/rotationalio/go-ensign/api/v1beta1"
	mimetype "github.com/rotationalio/go-ensign/mimetype/v1beta1"
)

// guard is how long anything may take before it counts as hanging.
const guard = 2 * time.Minute

var version = regexp.MustCompile(`^v?(\d+)\.(\d+)\.(\d+)(-[a-zA-Z0-9.]+)?(\s+\([a-f0-9]{7}\))?$`)

type session struct {
	client  *ensign.Client
	topic   string
	topicID string
}

func main() {
	s := &session{topic: "testing.random." + strings.ToLower(ulid.Make().String())}
	parts := []struct {
		name string
		run  func(context.Context) error
	}{
		{"login", s.login},
		{"status", s.status},
		{"topics", s.topics},
		{"publish and subscribe", s.pubsub},
		{"acks before the end of a stream", s.acks},
		{"info", s.info},
		{"archive and destroy", s.destroy},
	}
	for _, part := range parts {
		ctx, cancel := context.WithTimeout(context.Background(), guard)
		err := part.run(ctx)
		cancel()
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %s\n", part.name, err)
			os.Exit(1)
		}
		fmt.Println("ok", part.name)
	}
}

// login makes the client, which signs in at once, and sees that a wrong secret is refused.
func (s *session) login(ctx context.Context) (err error) {
	if s.client, err = ensign.New(); err != nil {
		return err
	}
	_, err = ensign.New(ensign.WithCredentials(os.Getenv(ensign.EnvClientID), strings.Repeat("x", 64)))
	if err == nil || !strings.HasPrefix(err.Error(), "[4") {
		return fmt.Errorf("a wrong secret got %v", err)
	}
	return nil
}

func (s *session) status(ctx context.Context) error {
	state, err := s.client.Status(ctx)
	if err != nil {
		return err
	}
	parts := version.FindStringSubmatch(state.Version)
	if state.Status != api.ServiceState_HEALTHY || parts == nil {
		return fmt.Errorf("the status is %s, the version %q", state.Status, state.Version)
	}
	if parts[1] != strconv.Itoa(ensign.VersionMajor) || parts[2] != strconv.Itoa(ensign.VersionMinor) {
		return fmt.Errorf("version %q is not that of the SDK, %s", state.Version, ensign.Version())
	}
	return nil
}

func (s *session) topics(ctx context.Context) (err error) {
	exists, err := s.client.TopicExists(ctx, s.topic)
	if err != nil || exists {
		return fmt.Errorf("before its creation, the topic's existence is %t, %v", exists, err)
	}
	if s.topicID, err = s.client.CreateTopic(ctx, s.topic); err != nil {
		return err
	}
	if exists, err = s.client.TopicExists(ctx, s.topic); err != nil || !exists {
		return fmt.Errorf("after its creation, the topic's existence is %t, %v", exists, err)
	}
	found, err := s.client.TopicID(ctx, s.topic)
	if err != nil || found != s.topicID {
		return fmt.Errorf("the id of the name is %q, %v", found, err)
	}
	id, err := ulid.Parse(s.topicID)
	if err != nil {
		return err
	}
	listed, err := s.client.ListTopics(ctx)
	if err != nil {
		return err
	}
	for _, topic := range listed {
		if bytes.Equal(topic.Id, id[:]) {
			if topic.Name != s.topic || len(topic.ProjectId) != 16 {
				return fmt.Errorf("the topic is listed as %v", topic)
			}
			return nil
		}
	}
	return errors.New("the topic is not in the list")
}

// pubsub publishes ten events without data and a last one, and reads them in order.
func (s *session) pubsub(ctx context.Context) error {
	sub, err := s.client.Subscribe(s.topicID)
	if err != nil {
		return err
	}
	var sent []*ensign.Event
	for i := 1; i <= 10; i++ {
		event := &ensign.Event{
			Metadata: ensign.Metadata{"msg": strconv.Itoa(i)},
			Data:     []byte{},
			Mimetype: mimetype.ApplicationOctetStream,
		}
		sent = append(sent, event)
	}
	sent = append(sent, &ensign.Event{
		Metadata: ensign.Metadata{"done": "true"},
		Data:     []byte("done"),
		Mimetype: mimetype.TextPlain,
	})
	for i, event := range sent {
		topic := s.topicID
		if i%2 == 1 {
			topic = s.topic
		}
		if err := s.client.Publish(topic, event); err != nil {
			return err
		}
	}
	for i, expected := range sent {
		select {
		case event := <-sub.C:
			if fmt.Sprint(event.Metadata) != fmt.Sprint(expected.Metadata) || !bytes.Equal(event.Data, expected.Data) {
				return fmt.Errorf("event %d came with %v", i, event.Metadata)
			}
			if len(event.ID()) != 16 || event.TopicID() != s.topicID || event.Committed().IsZero() {
				return fmt.Errorf("event %d has id %q, topic %q, committed %s", i, event.ID(), event.TopicID(), event.Committed())
			}
			if offset, _ := event.Offset(); offset != uint64(i+1) {
				return fmt.Errorf("event %d has offset %d", i, offset)
			}
			if acked, err := event.Ack(); err != nil || !acked {
				return fmt.Errorf("event %d could not be acked: %v", i, err)
			}
		case <-ctx.Done():
			return fmt.Errorf("only %d events came", i)
		}
	}
	for i, event := range sent {
		if nacked, err := event.Nacked(); nacked || err != nil {
			return fmt.Errorf("event %d was nacked: %v", i, err)
		}
	}
	return sub.Close()
}

// acks publishes on a stream of its own and half-closes it right away: every event is acked before the stream ends. The
// SDK forgets acks that overtake its own bookkeeping, so they are counted below it.
func (s *session) acks(ctx context.Context) error {
	const count = 2000
	id, err := ulid.Parse(s.topicID)
	if err != nil {
		return err
	}
	publish, err := s.client.PublishStream(ctx)
	if err != nil {
		return err
	}
	open := &api.PublisherRequest{Embed: &api.PublisherRequest_OpenStream{OpenStream: &api.OpenStream{ClientId: "session"}}}
	if err = publish.Send(open); err != nil {
		return err
	}
	event := (&ensign.Event{Data: []byte("acked"), Mimetype: mimetype.TextPlain}).Proto()
	env := &api.EventWrapper{TopicId: id[:]}
	if err = env.Wrap(event); err != nil {
		return err
	}
	for i := 0; i < count; i++ {
		local := ulid.Make()
		env.LocalId = local[:]
		if err = publish.Send(&api.PublisherRequest{Embed: &api.PublisherRequest_Event{Event: env}}); err != nil {
			return err
		}
	}
	if err = publish.CloseSend(); err != nil {
		return err
	}
	acks := 0
	for {
		reply, err := publish.Recv()
		if err != nil {
			return fmt.Errorf("the stream ended after %d acks without a word: %w", acks, err)
		}
		if reply.GetAck() != nil {
			acks++
		}
		if end := reply.GetCloseStream(); end != nil {
			if acks != count || end.Events != count || end.Acks != count || end.Topics != 1 || end.Nacks != 0 {
				return fmt.Errorf("%d acks came, and the stream ended with %v", acks, end)
			}
			return nil
		}
	}
}

func (s *session) info(ctx context.Context) error {
	id, err := ulid.Parse(s.topicID)
	if err != nil {
		return err
	}
	info, err := s.client.TopicInfo(ctx, id)
	if err != nil || info.Events != 2011 || info.Duplicates != 0 || info.DataSizeBytes == 0 {
		return fmt.Errorf("the topic's info is %v, %v", info, err)
	}
	project, err := s.client.Info(ctx, s.topicID)
	if err != nil || project.NumTopics != 1 || project.Events != 2011 {
		return fmt.Errorf("the project's info is %v, %v", project, err)
	}
	return nil
}

func (s *session) destroy(ctx context.Context) error {
	state, err := s.client.ArchiveTopic(ctx, s.topicID)
	if err != nil || state != api.TopicState_READONLY {
		return fmt.Errorf("archived, the topic is %s, %v", state, err)
	}
	if state, err = s.client.DestroyTopic(ctx, s.topicID); err != nil || state != api.TopicState_DELETING {
		return fmt.Errorf("destroyed, the topic is %s, %v", state, err)
	}
	for {
		exists, err := s.client.TopicExists(ctx, s.topic)
		if err != nil || !exists {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}
