"""The basic app, to whose channels other programs have a way of their own."""

from apps.basic import app as app
from apps.basic import push

push.bridge("redis:chat", channel="chat")
push.bridge("redis:news", channel="b", type="said")
